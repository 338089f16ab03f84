# SPDX-License-Identifier: Apache-2.0
"""Images that are missing, damaged or not images: exit status 1, one line, nothing half-written."""

import shutil

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

    def test_a_directory_named_png(self):
        def spoil():
            os.remove(self.path("images/train-05.png"))
            os.mkdir(self.path("images/train-05.png"))

        arguments = self.train_arguments()
        spoil()
        self.bad(1, *arguments, "--quiet", "--epochs", "1", says=["train-05.png"])


if __name__ == "__main__":
    unittest.main()
