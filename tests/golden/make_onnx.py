#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Small DenseNets as the exporters of PyTorch and TensorFlow write them, and what ONNX Runtime makes of them.

    make_onnx.py torch FOLDER       needs torch, torchvision, onnx, onnxscript
    make_onnx.py keras FOLDER       needs tensorflow, keras 3, tf2onnx
    make_onnx.py tf_keras FOLDER    needs tensorflow, tf_keras (Keras 2), tf2onnx
    make_onnx.py outputs FOLDER     needs onnxruntime; writes outputs.json

Blocks of 1, 2, 1, 1 layers, growth 4, stem 8, three outputs, 64 pixels. Element i of the two images (N, C, H, W), row-major, is
(k - 127.5) / 64, k the highest byte of 2654435761 i in 32 bits. What the exporters say of the machine that they ran on is taken out.
"""
import json
import os
import sys

BLOCKS, GROWTH, STEM, CLASSES, SIZE = (1, 2, 1, 1), 4, 8, 3, 64


def images():
    import numpy

    i = numpy.arange(2 * 3 * SIZE * SIZE, dtype=numpy.int64)
    return (((i * 2654435761 % 2**32 >> 24) - 127.5) / 64).astype(numpy.float32).reshape(2, 3, SIZE, SIZE)


def torch_files(folder):
    import torch
    from torchvision.models.densenet import DenseNet

    torch.manual_seed(1)
    network = DenseNet(GROWTH, BLOCKS, STEM, num_classes=CLASSES)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    network.eval()
    x = (torch.from_numpy(images()),)

    def path(name):
        return os.path.join(folder, name)

    torch.onnx.export(network, x, path("torch-script.onnx"), dynamo=False, input_names=["x"], output_names=["logits"], dynamic_axes={"x": {0: "n"}})
    torch.onnx.export(network, x, path("torch-script-unfolded.onnx"), dynamo=False, opset_version=11, do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE,
                      input_names=["x"], keep_initializers_as_inputs=True)
    with_sigmoid = torch.nn.Sequential(network, torch.nn.Sigmoid()).eval()
    torch.onnx.export(with_sigmoid, x, path("torch-export.onnx"), dynamo=True, dynamic_shapes=({0: torch.export.Dim("n")},), external_data=True)
    import onnx

    model = onnx.load(path("torch-export.onnx"), load_external_data=False)
    del model.graph.value_info[:]
    for part in [model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        del part.metadata_props[:]
        part.ClearField("doc_string")
    onnx.save(model, path("torch-export.onnx"))


def keras_file(keras, path):
    import tensorflow as tf
    from tf2onnx import convert

    L = keras.layers
    keras.utils.set_random_seed(1)

    def norm():
        return L.BatchNormalization(epsilon=1.001e-5, beta_initializer="random_normal", gamma_initializer=keras.initializers.RandomUniform(0.5, 1.5),
                                    moving_mean_initializer="random_normal", moving_variance_initializer=keras.initializers.RandomUniform(0.5, 1.5))

    def conv(x, out, side, **options):
        return L.Conv2D(out, side, use_bias=False, **options)(x)

    image = keras.Input((SIZE, SIZE, 3))
    x = conv(L.ZeroPadding2D(3)(image), STEM, 7, strides=2)
    x = L.MaxPooling2D(3, strides=2)(L.ZeroPadding2D(1)(L.ReLU()(norm()(x))))
    for block, layers in enumerate(BLOCKS):
        for _ in range(layers):
            y = conv(L.ReLU()(norm()(x)), 4 * GROWTH, 1)
            x = L.Concatenate()([x, conv(L.ReLU()(norm()(y)), GROWTH, 3, padding="same")])
        x = L.ReLU()(norm()(x))
        if block < 3:
            x = L.AveragePooling2D(2, strides=2)(conv(x, x.shape[-1] // 2, 1))
    x = L.Dense(CLASSES, activation="sigmoid", bias_initializer="random_normal")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    signature = [tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, name="x")]
    convert.from_function(tf.function(lambda x: model(x, training=False), input_signature=signature), input_signature=signature, opset=17, output_path=path)


def outputs(folder):
    import onnxruntime

    result = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".onnx"):
            session = onnxruntime.InferenceSession(os.path.join(folder, name), providers=["CPUExecutionProvider"])
            x = images()
            if session.get_inputs()[0].shape[-1] == 3:
                x = x.transpose(0, 2, 3, 1)
            result[name] = {"runtime": onnxruntime.__version__, "outputs": session.run(None, {session.get_inputs()[0].name: x})[0].tolist()}
    with open(os.path.join(folder, "outputs.json"), "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")


def main():
    what, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    if what == "torch":
        torch_files(folder)
    elif what == "keras":
        import keras

        keras_file(keras, os.path.join(folder, "keras-3.onnx"))
    elif what == "tf_keras":
        import tf_keras

        keras_file(tf_keras, os.path.join(folder, "keras-2.onnx"))
    elif what == "outputs":
        outputs(folder)
    else:
        sys.exit(__doc__)


main()
