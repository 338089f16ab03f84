# What each component needs, as one table: the build reads it here, find_package(cxr) reads the installed copy.
#
# cxr_<component>_parents    components whose headers it includes
# cxr_<component>_headers    which headers are its own, as globs below include/cxr; what no component claims is cxr::cxr
# cxr_<component>_device     which of them want CUDA to be compiled, as globs
# cxr_<component>_packages   <CMake package>:<Debian package that has it>, in the order of the search
# cxr_<component>_links      the targets that these packages define
# cxr_<component>_unnamed_links  the same for aliases, whose real names must not get into the installed package
# cxr_<component>_pc_requires    for pkg-config: the third party's own packages
# cxr_<component>_pc_libs        for pkg-config: what to link where it has none

set(cxr_components eigen xtensor onednn image table keras onnx thrust cuda)

set(cxr_core_packages Threads:libc6-dev)
set(cxr_core_links Threads::Threads)
set(cxr_core_pc_libs -pthread)

set(cxr_eigen_parents core)
set(cxr_eigen_headers interop/eigen.hpp backend/eigen/*.hpp)
set(cxr_eigen_packages Eigen3:libeigen3-dev)
set(cxr_eigen_links Eigen3::Eigen)
set(cxr_eigen_pc_requires eigen3)

set(cxr_xtensor_parents core)
set(cxr_xtensor_headers interop/xtensor.hpp backend/xtensor/*.hpp)
set(cxr_xtensor_packages xtl:libxtensor-dev xtensor:libxtensor-dev)
set(cxr_xtensor_links xtensor)
set(cxr_xtensor_pc_requires xtl xtensor)

# Debian's package file of oneDNN stops the configuration itself where OpenCL is absent, so that one is looked for first.
# The library brings GNU's OpenMP runtime; naming it lets a program set its number of threads. The compiler's own -fopenmp
# stays out: with clang it would load a second runtime beside it.
set(cxr_onednn_parents eigen)
set(cxr_onednn_headers backend/onednn/*.hpp)
set(cxr_onednn_packages OpenCL:ocl-icd-opencl-dev dnnl:libdnnl-dev)
set(cxr_onednn_links DNNL::dnnl gomp)
set(cxr_onednn_pc_libs -ldnnl -lgomp)

set(cxr_image_parents core)
set(cxr_image_headers data/png.hpp data/jpeg.hpp data/image_file.hpp data/identical_images.hpp data/image_cache.hpp data/prepared_images.hpp data/loader.hpp)
set(cxr_image_packages PNG:libpng-dev JPEG:libjpeg62-turbo-dev ZLIB:zlib1g-dev)
set(cxr_image_links PNG::PNG JPEG::JPEG ZLIB::ZLIB)
set(cxr_image_pc_requires libpng libjpeg zlib)

set(cxr_table_parents core)
set(cxr_table_headers data/gzip.hpp data/label_table.hpp)
set(cxr_table_packages ZLIB:zlib1g-dev)
set(cxr_table_links ZLIB::ZLIB)
set(cxr_table_pc_requires zlib)

set(cxr_keras_parents core)
set(cxr_keras_headers io/keras/*.hpp)
set(cxr_keras_packages HDF5C:libhdf5-dev LibArchive:libarchive-dev)
set(cxr_keras_links HDF5C::HDF5C LibArchive::LibArchive)
set(cxr_keras_pc_requires hdf5 libarchive)
# ONNX's own messages, compiled by Debian. Its package file uses the target of protobuf without looking for it, so that one is found first.
set(cxr_onnx_parents core)
set(cxr_onnx_headers io/onnx_attributes.hpp io/onnx_model.hpp io/onnx_graph.hpp io/read_onnx.hpp io/write_onnx.hpp)
set(cxr_onnx_packages Protobuf:libprotobuf-dev ONNX:libonnx-dev)
set(cxr_onnx_links onnx_proto)
set(cxr_onnx_pc_requires protobuf)
set(cxr_onnx_pc_libs -lonnx_proto)

# Thrust's systems OpenMP and TBB are the consumer's choice: he compiles with OpenMP, or links TBB, where he includes their header. No CUDA is needed.
set(cxr_thrust_parents eigen)
set(cxr_thrust_headers interop/thrust.hpp backend/thrust/*.hpp)
set(cxr_thrust_device backend/thrust/cuda*.hpp)
set(cxr_thrust_packages Thrust:libthrust-dev)
set(cxr_thrust_unnamed_links Thrust::Thrust)

# CUDA is NVIDIA's own package, not Debian's; cuDNN and NCCL lie in it or beside it.
set(cxr_cuda_parents thrust)
set(cxr_cuda_headers backend/cuda/*.hpp train/distributed/nccl.hpp)
set(cxr_cuda_device backend/cuda/*.hpp train/distributed/nccl.hpp)
set(cxr_cuda_packages CUDAToolkit:cuda-toolkit-13-0 cuDNN:cudnn9-cuda-13 NCCL:libnccl-dev)
set(cxr_cuda_links CUDA::cudart CUDA::cublasLt cuDNN::cuDNN NCCL::NCCL)
set(cxr_cuda_pc_libs -lcublasLt -lcudnn -lnccl) # nvcc finds them itself and brings the runtime

# Finds what a component needs; `missing` is empty, or names each absent package and the Debian package that has it.
macro(cxr_find_requirements component missing)
    set(${missing} "")
    foreach(cxr_requirement IN LISTS cxr_${component}_packages)
        string(REPLACE ":" ";" cxr_requirement "${cxr_requirement}")
        list(GET cxr_requirement 0 cxr_package)
        list(GET cxr_requirement 1 cxr_debian_package)
        if(NOT ${missing})
            find_package(${cxr_package} QUIET)
            if(NOT ${cxr_package}_FOUND)
                set(${missing} "${cxr_package} (Debian package ${cxr_debian_package})")
            endif()
        endif()
    endforeach()
endmacro()
