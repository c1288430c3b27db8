#!/usr/bin/env python3
"""Makes the files of this folder with NumPy (run in it; needs numpy and ml_dtypes). Element i of each array is i - 3."""
import struct
import zipfile

import ml_dtypes
import numpy as np


def ramp(dtype, *shape):
    return (np.arange(int(np.prod(shape))) - 3).reshape(shape).astype(dtype)


for name in ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8", "|i1", "<i2", "<i4", "<i8", ">i2", ">i4", ">i8", "|u1", "<u2", "<u4",
             "<u8", ">u4", "<c8", ">c8"):
    plain = name.replace("<", "le_").replace(">", "be_").replace("|", "")
    with np.errstate(all="ignore"):
        a = ramp("f8", 3, 4).astype("i8").astype(name)
    if "c8" in name:
        a = (a + 1j * 2).astype(name)
    np.save(plain, a)
np.save("bool", ramp("i4", 3, 4) > 0)
np.save("fortran", np.asfortranarray(ramp("<f4", 3, 4)))
np.save("fortran_vector", np.asfortranarray(ramp("<f4", 5)))
np.save("scalar", np.float32(-3))
np.save("empty", np.zeros((0, 7), "<f4"))
np.save("dims5", ramp("<i2", 1, 2, 1, 3, 2))
for version in (1, 2, 3):
    with open(f"version{version}.npy", "wb") as f:
        np.lib.format.write_array(f, ramp("<f4", 3, 4), version=(version, 0))
# what is refused
np.save("refused_c16", ramp("c16", 3))
np.save("refused_text", np.array(["a", "bc"]))
np.save("refused_objects", np.array([{}, 1], dtype=object), allow_pickle=True)
np.save("refused_struct", np.zeros(2, [("a", "<f4"), ("b", "<i2")]))
np.save("refused_bfloat16", ramp("f4", 3, 4).astype(ml_dtypes.bfloat16))
np.save("refused_longdouble", ramp(np.longdouble, 3))

big = np.tile(ramp("<f4", 64, 32), (8, 1))
arrays = {"w": ramp("<f4", 3, 4), "layer/be": ramp(">i4", 2, 2), "text": np.array(["x"]), "big": big, "empty": np.zeros((0, 2)), "f": np.asfortranarray(ramp("<f8", 2, 3))}
np.savez("stored", **{k: v for k, v in arrays.items() if k != "big"})
np.savez_compressed("deflated", **arrays)
np.savez("no_arrays")
with zipfile.ZipFile("mixed.npz", "w") as z:  # ZIP64 local headers, other files, folders, comments
    z.writestr("notes.txt", "hello")
    z.mkdir("folder") if hasattr(z, "mkdir") else z.writestr("folder/", "")
    with z.open("folder/w.npy", "w", force_zip64=True) as f:
        np.lib.format.write_array(f, ramp("<f4", 3, 4))
    z.comment = b"a comment"
for name, method in (("bzip2", zipfile.ZIP_BZIP2), ("lzma", zipfile.ZIP_LZMA)):
    with zipfile.ZipFile(f"refused_{name}.npz", "w", method) as z:
        z.writestr("w.npy", open("le_f4.npy", "rb").read())


class Pipe:
    """A file that cannot seek: zipfile then writes data descriptors after the members."""

    def __init__(self, file):
        self.write, self.flush = file.write, file.flush


with open("descriptors.npz", "wb") as f, zipfile.ZipFile(Pipe(f), "w", zipfile.ZIP_DEFLATED) as z:
    for name in ("le_f4", "le_i2"):
        z.writestr(name + ".npy", open(name + ".npy", "rb").read())

# zipfile writes the ZIP64 end only above 65535 members or 4 GB: put one in by hand.
data = bytearray(open("stored.npz", "rb").read())
end = len(data) - 22
count, size, offset = struct.unpack("<HII", data[end + 10:end + 20])
record = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, size, offset)
locator = struct.pack("<IIQI", 0x07064B50, 0, end, 1)
tail = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
open("zip64.npz", "wb").write(bytes(data[:end]) + record + locator + tail)
assert sorted(np.load("zip64.npz").files) == sorted(np.load("stored.npz").files)
