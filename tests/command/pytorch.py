# SPDX-License-Identifier: Apache-2.0
"""What `cxr train` and `cxr convert` write is loaded by torchvision's DenseNet, whole, and leads to the same probabilities and the same training steps.
CXR_TORCH_PYTHON names a Python that has torch, torchvision and safetensors; it skips without."""

import json
import os
import subprocess
import unittest

from _cxr_command import *

PYTHON = os.environ.get("CXR_TORCH_PYTHON")

PROGRAM = """
import json, sys
import torch
from safetensors.torch import load_file
from torchvision.models import DenseNet
folder, out = sys.argv[1:]
images, labels, positive, negative = (torch.tensor(v, dtype=torch.float64) for v in json.load(open(folder + "/batch.json")))
images = images.permute(0, 3, 1, 2)
result = {}
for dtype in (torch.float64, torch.float32):
    model = DenseNet(32, (1, 2, 1, 1), 64, num_classes=2)
    state = {name: value for name, value in load_file(folder + "/w.safetensors").items()}
    left = model.load_state_dict(state, strict=False)
    assert not left.unexpected_keys and all(name.endswith("num_batches_tracked") for name in left.missing_keys), left
    model.to(dtype).eval()
    x, y, p, n = (v.to(dtype) for v in (images, labels, positive, negative))
    said = {"probabilities": model(x).sigmoid().tolist(), "losses": []}
    model.train()
    # torch adds its epsilon behind the correction of the bias, where Keras and cxr add theirs before.
    step = 0
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(1, 4):
        for group in optimizer.param_groups:
            group["eps"] = 1e-7 / (1 - 0.999**step) ** 0.5
        z = model(x)
        loss = (-p * y * torch.nn.functional.logsigmoid(z) - n * (1 - y) * torch.nn.functional.logsigmoid(-z)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        said["losses"].append(loss.item())
    result[str(dtype)] = said
json.dump(result, open(out, "w"))
"""


class PyTorch(CommandTest):
    def test_torchvision_loads_what_was_trained_and_takes_the_same_steps(self):
        rows = 8  # all of them in every batch, so their order is no matter
        data = self.data_set(train=rows, size=32)
        small = ["--batch", str(rows), "--lr", "1e-3", "--quiet"]
        self.good("train", *data, "--blocks", "1,2,1,1", "--size", "32", *small, "--steps", "1", "--out", self.path("run"))
        model = self.path("w.safetensors")
        self.good("convert", self.path("run", "last.safetensors"), model, "--quiet")
        table = read_csv(self.path("train.csv"))
        with open(self.path("run", "config.json")) as file:
            config = json.load(file)
        batch = [[samplewise(self.read("images", row["Image"])) for row in table], [[int(row[c]) for c in "AB"] for row in table], config["positive_weights"], config["negative_weights"]]
        self.write("batch.json", json.dumps(batch))
        self.write("program.py", PROGRAM)
        done = subprocess.run([PYTHON, self.path("program.py"), self.folder, self.path("said.json")], capture_output=True, text=True, timeout=900)
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        said = json.loads(self.read("said.json"))
        exact, single = said["torch.float64"], said["torch.float32"]
        here = self.good_json("predict", "--model", model, "--images", self.path("images"), "--csv", self.path("train.csv"), "--out", self.path("p.csv"), "--direct")
        self.assertEqual(here["images"], [row["Image"] for row in table])
        pairs = [(a, b) for ours, theirs in zip(here["probabilities"], exact["probabilities"]) for a, b in zip(ours, theirs)]
        worst = max(abs(a - b) for a, b in pairs)
        print(f"probabilities within {worst:.1e}")
        self.assertLess(worst, 2e-6)  # float32's own error of some 2e-7, and of preparing the images
        losses = self.good_json("train", *data, *small, "--steps", "3", "--weights", model, "--out", self.path("next"))["steps"]
        print(f"losses {losses}, theirs in float64 {exact['losses']}, in float32 {single['losses']}")
        for step, (ours, theirs, rounded) in enumerate(zip(losses, exact["losses"], single["losses"])):
            # Float32's own error, as theirs. A gradient near 0 whose sign a rounding turns is a whole step of Adam for that weight, the other way, so what follows two steps is a thousandth off at most.
            self.assertLess(abs(ours - theirs), 1e-3 * theirs if step == 2 else 4 * max(abs(rounded - theirs), 2e-7 * theirs))


if __name__ == "__main__":
    if PYTHON is None:
        print("skipped: CXR_TORCH_PYTHON is not set, a Python with torch, torchvision and safetensors")
        raise SystemExit(77)
    unittest.main()
