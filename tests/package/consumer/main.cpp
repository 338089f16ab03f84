// SPDX-License-Identifier: Apache-2.0
// Every component of the installed library, in a project of its own: its headers are found, its third party is linked.

#include <cxr/backend/eigen/backend.hpp>
#include <cxr/backend/onednn/backend.hpp>
#include <cxr/backend/thrust/cpp.hpp>
#include <cxr/backend/xtensor/backend.hpp>
#include <cxr/cxr.hpp>
#include <cxr/data/gzip.hpp>
#include <cxr/data/label_table.hpp>
#include <cxr/data/loader.hpp>
#include <cxr/data/jpeg.hpp>
#include <cxr/data/png.hpp>
#include <cxr/interop/eigen.hpp>
#include <cxr/interop/xtensor.hpp>
#include <cxr/io/keras/read.hpp>
#include <cxr/io/read_onnx.hpp>
#include <cxr/io/write_onnx.hpp>

#include <cstdio>

int main() {
    std::printf("cxr %s with Eigen %d.%d, xtensor %d.%d, oneDNN %d.%d, Thrust %d, libpng %s, libjpeg %d, zlib %s, HDF5 %s, libarchive %d\n", cxr::version.data(),
                EIGEN_WORLD_VERSION, EIGEN_MAJOR_VERSION, XTENSOR_VERSION_MAJOR, XTENSOR_VERSION_MINOR,
                dnnl::version()->major, dnnl::version()->minor, THRUST_VERSION, png_get_libpng_ver(nullptr), JPEG_LIB_VERSION, zlibVersion(), H5_VERS_INFO, archive_version_number());
}
