#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times DenseNet121 with 14 sigmoid outputs in another library: one process, one contender, one line of JSON.

    contender.py --peer torch|compile|onnxruntime|openvino|keras --files FOLDER [--mode inference|training] [--size 224] [--batch 16] [--dtype f32|bf16]
                 [--threads N] [--seconds 10]

FOLDER is what network.py wrote. Training is one step of forward, weighted cross-entropy, backward and Adam. Three runs come before those that count. Settings that
must be there before a process begins are in compare.py.
"""

import argparse
import json
import os
import resource
import sys
import time

import numpy as np

import files

LEARNING_RATE, POSITIVE, NEGATIVE, EPSILON = 1e-4, 0.9, 0.1, 1e-7
WARM_UP, LEAST_RUNS = 3, 3


def rss_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def torch_step(options, images, targets):
    import torch

    from network import densenet121

    torch.set_num_threads(options.threads)
    model = densenet121(options.files + "/" + files.WEIGHTS).to(memory_format=torch.channels_last)
    x = torch.from_numpy(images).permute(0, 3, 1, 2)  # (N, height, width, channels) in memory is channels last
    bf16 = options.dtype == "bf16"
    if options.mode == "inference":
        model = torch.nn.Sequential(model, torch.nn.Sigmoid()).eval()
        if bf16:
            model, x = model.to(torch.bfloat16), x.to(torch.bfloat16)
        if options.peer == "compile":
            import torch._inductor.config

            torch._inductor.config.freezing = True
            model = torch.compile(model)

        def infer():
            with torch.inference_mode() if options.peer == "torch" else torch.no_grad():  # frozen weights are no inference tensors
                return model(x)

        return infer, lambda answer: answer[0].float().tolist()

    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    forward = torch.compile(model.train()) if options.peer == "compile" else model.train()
    y = torch.from_numpy(targets)

    def train():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = forward(x)
        p = torch.sigmoid(logits.float())
        loss = -(POSITIVE * y * torch.log(p + EPSILON) + NEGATIVE * (1 - y) * torch.log(1 - p + EPSILON)).mean(0).sum()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return train, lambda loss: [loss.item()]


def onnxruntime_step(options, images, _):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = options.threads, 1
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(options.files + "/" + files.ONNX, settings, providers=["CPUExecutionProvider"])
    x = {"images": np.ascontiguousarray(images.transpose(0, 3, 1, 2))}
    return lambda: session.run(None, x)[0], lambda answer: answer[0].tolist()


def openvino_step(options, images, _):
    import openvino

    core = openvino.Core()
    model = core.read_model(options.files + "/" + files.ONNX)
    x = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    model.reshape(list(x.shape))
    settings = {"INFERENCE_NUM_THREADS": options.threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": options.dtype}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    tensor = openvino.Tensor(x)

    def infer():
        request.infer({0: tensor})
        return request.get_output_tensor().data

    return infer, lambda answer: answer[0].tolist()


def keras_step(options, images, targets):
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if options.dtype == "bf16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    base = keras.applications.DenseNet121(include_top=False, weights=None, input_shape=images.shape[1:], pooling="avg")
    model = keras.Model(base.input, keras.layers.Dense(files.CLASSES, activation="sigmoid", dtype="float32")(base.output))
    parameters = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert parameters == files.PARAMETERS, f"{parameters} parameters, expected {files.PARAMETERS}"
    # Both list their layers from input to output, and both batch norms γ, β, mean, variance.
    for weight, values in zip(model.weights, files.read_safetensors(options.files + "/" + files.WEIGHTS).values(), strict=True):
        weight.assign(values.transpose(2, 3, 1, 0) if values.ndim == 4 else values.T)
    x, y = tf.constant(images), tf.constant(targets)
    if options.mode == "inference":
        infer = tf.function(lambda batch: model(batch, training=False))
        return lambda: infer(x).numpy(), lambda answer: answer[0].tolist()

    def loss(y, p):
        return tf.reduce_sum(tf.reduce_mean(-(POSITIVE * y * tf.math.log(p + EPSILON) + NEGATIVE * (1 - y) * tf.math.log(1 - p + EPSILON)), 0))

    model.compile(optimizer=keras.optimizers.Adam(LEARNING_RATE), loss=loss, jit_compile=False)
    return lambda: model.train_on_batch(x, y), lambda value: [float(value)]


# For each: what makes a step and what reads its result, and the module whose version is told.
PEERS = {
    "torch": (torch_step, "torch"),
    "compile": (torch_step, "torch"),
    "onnxruntime": (onnxruntime_step, "onnxruntime"),
    "openvino": (openvino_step, "openvino"),
    "keras": (keras_step, "tensorflow"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True, choices=PEERS)
    parser.add_argument("--files", required=True, help="folder that network.py wrote")
    parser.add_argument("--mode", default="inference", choices=["inference", "training"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()

    images = files.read_array(options.files + "/" + files.images_name(options.size), (options.batch, options.size, options.size, 3))
    targets = files.read_array(options.files + "/" + files.TARGETS, (options.batch, files.CLASSES))
    make, module = PEERS[options.peer]
    step, numbers_of = make(options, images, targets)
    loaded_mb = rss_mb()
    check = numbers_of(step())
    for _ in range(WARM_UP - 1):
        last = step()
    if options.mode == "training":  # the third step's loss tells of two gradients
        check += numbers_of(last)
    seconds, begin = [], time.perf_counter()
    while len(seconds) < LEAST_RUNS or time.perf_counter() - begin < options.seconds:
        turn = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - turn)
    seconds.sort()
    result = {
        "contender": options.peer,
        "version": f"{module} {sys.modules[module].__version__}",
        "mode": options.mode,
        "size": options.size,
        "batch": options.batch,
        "dtype": options.dtype,
        "threads": options.threads,
        "runs": len(seconds),
        "images_per_second_best": options.batch / seconds[0],
        "images_per_second_median": options.batch / seconds[len(seconds) // 2],
        "rss_mb": rss_mb(),
        "rss_loaded_mb": loaded_mb,
        "check": check,
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
