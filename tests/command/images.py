# SPDX-License-Identifier: Apache-2.0
"""Images that are missing, damaged or not images: exit status 1, one line, nothing half-written."""

import shutil
import zlib

from _cxr_command import *


class BadImages(CommandTest):
    def refused_by_training(self, spoil, *says):
        """Found before anything is written."""
        arguments = self.train_arguments()
        spoil()
        with self.unchanged():
            return self.bad(1, *arguments, "--quiet", "--epochs", "1", says=says)

    def damaged(self, content, *says):
        """An image with this content stops training and prediction."""
        arguments = self.train_arguments()
        self.write("images/train-05.png", content)
        shutil.rmtree(self.path("run"), ignore_errors=True)
        result = self.bad(1, *arguments, "--quiet", "--epochs", "1", says=["train-05.png", *says])
        # A run that had begun keeps only whole files.
        if os.path.exists(self.path("run")):
            for name in os.listdir(self.path("run")):
                self.assertIn(name, ("config.json", "last.safetensors", "steps.csv", "log.csv"))
            read_safetensors(self.path("run", "last.safetensors"))
        return result

    def test_images_listed_but_not_on_disk_are_counted_and_five_named(self):
        def spoil():
            for i in range(3, 10):
                os.remove(self.path(f"images/train-{i:02}.png"))

        message = self.refused_by_training(spoil, "7", *[f"train-{i:02}.png" for i in range(3, 8)])
        self.assertNotIn("train-08.png", message)

    def test_one_missing_image_of_the_validation_set(self):
        self.refused_by_training(lambda: os.remove(self.path("images/valid-02.png")), "valid-02.png")

    def test_a_folder_of_images_that_is_not_there(self):
        arguments = self.train_arguments()
        with self.unchanged():
            self.bad(1, *arguments, "--images", self.path("nowhere"), says=["nowhere"])

    def test_a_png_with_wrong_dimensions_in_its_header(self):
        pixels = [i % 251 for i in range(1600)]
        for width, height in ((40, 80), (40, 24), (64, 40), (24, 40)):
            self.damaged(png(40, 40, pixels, claimed=(width, height)), "damaged PNG", f"its header claims {width} x {height} pixels")
        self.damaged(png(40, 40, pixels, claimed=(40, 0)), "damaged PNG: it claims 40 x 0 pixels, expected at least 1 x 1")

    def test_a_truncated_png(self):
        whole = png(40, 40, [i % 251 for i in range(1600)])
        for cut in (len(whole) // 2, len(whole) - 13, 30, 8):
            with self.subTest(cut=cut):
                self.damaged(whole[:cut])

    def test_a_png_with_a_wrong_checksum(self):
        whole = bytearray(png(40, 40, [i % 251 for i in range(1600)]))
        whole[-20] ^= 0x10
        self.damaged(bytes(whole))

    def test_a_png_bomb(self):
        bomb = png(4, 4, [0] * 16, claimed=(100000, 100000))
        self.damaged(bomb, "100000")

    def test_text_named_png(self):
        self.damaged(b"Image,A,B\nthis is no image\n", "PNG")

    def test_an_empty_file_named_png(self):
        self.damaged(b"")

    def test_a_truncated_jpeg(self):
        whole = jpeg([[i * 9 % 256 for i in range(5)] for _ in range(5)])
        for cut in (len(whole) // 2, len(whole) - 2, len(whole) - 6, 20, 2):
            with self.subTest(cut=cut):
                self.damaged(whole[:cut], "JPEG")

    def test_a_jpeg_with_wrong_dimensions_in_its_header(self):
        blocks = [[i * 9 % 256 for i in range(5)] for _ in range(5)]
        for width, height, rows in ((40, 80, 40), (64, 40, 24)):
            self.damaged(jpeg(blocks, claimed=(width, height)), "damaged JPEG", f"its header claims {width} x {height} pixels; {rows} of {height} rows could be read")
        for width, height in ((40, 24), (24, 40)):
            message = self.damaged(jpeg(blocks, claimed=(width, height)), "damaged JPEG", f"its header claims {width} x {height} pixels, and its data hold more")
            self.assertNotIn("could be read", message)
        for width, height in ((0, 40), (40, 0)):
            self.damaged(jpeg(blocks, claimed=(width, height)), f"damaged JPEG: it claims {width} x {height} pixels, expected at least 1 x 1")
        for side in (60000, 65535):
            self.damaged(jpeg(blocks, claimed=(side, side)), f"refused: the JPEG claims {side} x {side} pixels, the limit is ")

    def test_a_directory_named_png(self):
        def spoil():
            os.remove(self.path("images/train-05.png"))
            os.mkdir(self.path("images/train-05.png"))

        arguments = self.train_arguments()
        spoil()
        self.bad(1, *arguments, "--quiet", "--epochs", "1", says=["train-05.png"])


def png16(width, height, samples):
    """A 16-bit gray PNG."""
    rows = b"".join(b"\0" + struct.pack(f">{width}H", *samples[y * width : (y + 1) * width]) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Formats(CommandTest):
    def model(self, *options):
        self.good(*self.train_arguments(), "--steps", "1", "--quiet", *options)
        return self.path("run")

    def probabilities(self, model, *names):
        return self.good_json("predict", "--model", model, "--images", *[self.path(n) for n in names], "--out", self.path("p.csv"))["probabilities"]

    def test_16_bits_are_read_as_16(self):
        model = self.model("--preprocess", "xrv", "--resize", "nearest")
        values = [i * 7 % 256 for i in range(1600)]
        self.write("a.png", png(40, 40, values))
        self.write("b.png", png16(40, 40, [257 * v for v in values]))
        self.write("c.png", png16(40, 40, [256 * v for v in values]))
        # The upper halves are all alike: read as 8 bits these two would be the same image.
        self.write("d.png", png16(40, 40, [0x8000 + v for v in values]))
        self.write("e.png", png16(40, 40, [0x8000 + 255 - v for v in values]))
        a, b, c, d, e = self.probabilities(model, "a.png", "b.png", "c.png", "d.png", "e.png")
        self.assertEqual(a, b)
        self.assertNotEqual(a, c)
        self.assertNotEqual(d, e)

    def test_jpeg_and_png_of_the_same_pixels_predict_alike(self):
        model = self.model()
        blocks = [[(40 * y + 23 * x) % 256 for x in range(5)] for y in range(5)]
        self.write("more/a.png", png(40, 40, [blocks[y // 8][x // 8] for y in range(40) for x in range(40)]))
        for name in ("b.jpg", "c.JPEG", "d.png"):  # the last is one too, whatever it is called
            self.write("more/" + name, jpeg(blocks))
        self.write("more/notes.txt", "no image")
        result = self.good_json("predict", "--model", model, "--images", self.path("more"), "--out", self.path("p.csv"))
        self.assertEqual(result["images"], ["a.png", "b.jpg", "c.JPEG", "d.png"])
        self.assertEqual(len({tuple(p) for p in result["probabilities"]}), 1)

    def test_training_on_jpeg(self):
        os.makedirs(self.path("images"))
        rows = [f"{i}.jpg,{i % 2}" for i in range(12)]
        for i in range(12):
            self.write(f"images/{i}.jpg", jpeg([[200 if i % 2 and x < 2 else 20 + i for x in range(4)] for _ in range(4)]))
        table = self.write("t.csv", "Image,A\n" + "\n".join(rows) + "\n")
        result = self.good_json("train", "--train", table, "--valid", table, "--images", self.path("images"), *SMALL, "--batch", "4", "--epochs", "4", "--out", self.path("run"))
        self.assertLess(result["steps"][-1], result["steps"][0])

    def test_check_finds_a_png_again_as_jpeg(self):
        blocks = [[(40 * y + 23 * x) % 256 for x in range(5)] for y in range(5)]
        self.write("images/a.png", png(40, 40, [blocks[y // 8][x // 8] for y in range(40) for x in range(40)]))
        self.write("images/b.jpg", jpeg(blocks))
        self.write("images/c.jpg", jpeg(blocks[::-1]))
        train = self.write("a.csv", "Image,PatientId,A\na.png,1,0\n")
        valid = self.write("b.csv", "Image,PatientId,A\nb.jpg,2,0\nc.jpg,3,1\n")
        result = self.run_cxr("check", "--train", train, "--valid", valid, "--images", self.path("images"), "--json", "-")
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertEqual(json.loads(result.stdout)["pairs"][0]["identical_pixels"], [["a.png", "b.jpg"]])

    def test_images_that_look_normalised_are_warned_of_once_a_run(self):
        data = self.train_arguments()
        for name in ("train-03.png", "train-07.png", "valid-01.png"):
            self.write("images/" + name, png(40, 40, [i % 2 for i in range(1600)]))
        warnings = [line for line in self.good(*data, "--epochs", "2").stderr.splitlines() if "normalised" in line]
        self.assertEqual(len(warnings), 1, warnings)
        self.assertRegex(warnings[0], r"^cxr: warning: .*train-0[37]\.png: no sample is above 1 of 255.* \(such images so far: 2 of 12\)$")
        p = self.good("predict", "--model", self.path("run"), "--images", self.path("images"), "--out", self.path("p.csv")).stderr
        self.assertEqual(p.count("normalised"), 1)
        self.assertRegex(p, r"train-03\.png: .* \(such images so far: 3 of 18\)\n")
        self.assertEqual(self.good(*data[:-1], self.path("again"), "--epochs", "1", "--quiet").stderr, "")

    def test_what_was_noticed_is_told_where_a_run_fails(self):
        data = self.train_arguments()
        for i in range(12):
            self.write(f"images/train-{i:02}.png", png(40, 40, [(i + j) % 2 for j in range(1600)]))
        told = r"^cxr: warning: .*train-\d\d\.png: no sample is above 1 of 255.* \(such images so far: {}\)\n"
        failed = self.run_cxr(*data, "--epochs", "3", "--lr", "1e39")
        self.assertEqual(failed.returncode, 1)
        self.assertRegex(failed.stderr, "(?m)" + told.format(r"\d+ of \d+"))
        self.assertRegex(failed.stderr, r"cxr: error: training diverged[^\n]*\n$")
        self.good(*data[:-1], self.path("good"), "--steps", "1", "--quiet")
        self.write("images/train-11.png", self.read("images/train-11.png")[:-20])
        failed = self.run_cxr("predict", "--model", self.path("good"), "--images", *(self.path("images", f"train-{i:02}.png") for i in range(12)), "--batch", "1", "--out", self.path("p.csv"))
        self.assertEqual(failed.returncode, 1)
        self.assertRegex(failed.stderr, told.format("11 of 11") + r"cxr: error: [^\n]*train-11\.png[^\n]*\n$")

    def test_10_and_12_bits_in_16_are_warned_of_once_a_run_and_samplewise_does_not_see_them(self):
        data = self.train_arguments()
        for most in (1023, 4095):
            self.write(f"more/{most}.png", png16(40, 40, [i * 37 % most for i in range(1599)] + [most]))
        self.write("more/whole.png", png16(40, 40, [i * 37 % 4095 * 16 for i in range(1599)] + [4095 * 16]))
        for i in (2, 5, 9):
            shutil.copy(self.path("more", "4095.png"), self.path("images", f"train-{i:02}.png"))
        for how, more in (("samplewise", ["--epochs", "2"]), ("xrv", ["--steps", "3"])):
            warnings = [line for line in self.good(*data[:-1], self.path(how), "--preprocess", how, *more).stderr.splitlines() if "stored in 16" in line]
            self.assertEqual(len(warnings), 1, warnings)
            self.assertRegex(warnings[0], r"^cxr: warning: .*train-0[259]\.png: no sample is above 4095 of 65535, so it looks as if 12 bits .* samplewise .* nearly black to imagenet's and xrv's; .* \(such images so far: 3 of 12\)$")
        # A run that ends within an epoch says it too.
        self.assertRegex(self.good(*data[:-1], self.path("few"), "--steps", "2").stderr, r"stored in 16 .* \(such images so far: [1-3] of 8\)\n")
        told = self.good("predict", "--model", self.path("samplewise"), "--images", self.path("more"), "--out", self.path("p.csv")).stderr
        self.assertRegex(told, r"1023\.png: no sample is above 1023 of 65535, so it looks as if 10 bits .* \(such images so far: 2 of 3\)\n")
        probabilities = {row["Image"]: float(row["A"]) for row in read_csv(self.path("p.csv"))}
        self.assertAlmostEqual(probabilities["4095.png"], probabilities["whole.png"], delta=1e-5)
        self.assertEqual(self.good(*data[:-1], self.path("again"), "--epochs", "1", "--quiet").stderr, "")


if __name__ == "__main__":
    unittest.main()
