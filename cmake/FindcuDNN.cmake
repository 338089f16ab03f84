# NVIDIA cuDNN 9: cuDNN_FOUND and the target cuDNN::cuDNN. It ships no package file of its own. cuDNN_ROOT may name the folder that has its include/ and lib/, such as
# nvidia/cudnn among Python's packages, where the library has the name of its version and no other.
find_package(CUDAToolkit QUIET)
find_path(cuDNN_INCLUDE_DIR cudnn_graph.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(cuDNN_LIBRARY NAMES cudnn libcudnn.so.9 NAMES_PER_DIR HINTS ${CUDAToolkit_LIBRARY_DIR})
mark_as_advanced(cuDNN_INCLUDE_DIR cuDNN_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(cuDNN REQUIRED_VARS cuDNN_LIBRARY cuDNN_INCLUDE_DIR)
if(cuDNN_FOUND AND NOT TARGET cuDNN::cuDNN)
    add_library(cuDNN::cuDNN UNKNOWN IMPORTED)
    set_target_properties(
        cuDNN::cuDNN
        PROPERTIES IMPORTED_LOCATION ${cuDNN_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${cuDNN_INCLUDE_DIR}
    )
endif()
