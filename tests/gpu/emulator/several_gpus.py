# SPDX-License-Identifier: Apache-2.0
"""examples/several_gpus.cu on one emulated GPU and on two: CXR_EXECUTABLE names the program. The first losses differ by rounding, later ones by what Adam's first steps, which take the sign of a gradient alone, make of it."""

import os
import subprocess

losses = {}
for gpus in (1, 2):
    found = subprocess.run([os.environ["CXR_EXECUTABLE"], "3"], env=os.environ | {"CXR_EMULATOR_GPUS": str(gpus)}, capture_output=True, text=True)
    lines = found.stdout.splitlines()
    assert found.returncode == 0 and lines[0].startswith(f"{gpus} GPU"), (found.returncode, found.stdout, found.stderr)
    losses[gpus] = [float(line.removeprefix("loss ")) for line in lines[1:]]
    assert len(losses[gpus]) == 3, found.stdout
print(losses)
for step, (one, two) in enumerate(zip(*losses.values())):
    assert abs(one - two) <= (2e-2 if step else 1e-4) * one, losses
