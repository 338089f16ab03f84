# The C library of HDF5, serial: HDF5C_FOUND and the target HDF5C::HDF5C. CMake's own module wants the language C in every project that asks.
find_path(HDF5C_INCLUDE_DIR hdf5.h PATH_SUFFIXES hdf5/serial)
find_library(HDF5C_LIBRARY NAMES hdf5 hdf5_serial PATH_SUFFIXES hdf5/serial)
mark_as_advanced(HDF5C_INCLUDE_DIR HDF5C_LIBRARY)
# Debian's name for linking lies in a folder of its own, the library itself among the system's: by that name no program gets a folder to search at its start.
if(HDF5C_LIBRARY)
    file(REAL_PATH ${HDF5C_LIBRARY} hdf5c_real)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(HDF5C REQUIRED_VARS HDF5C_LIBRARY HDF5C_INCLUDE_DIR)
if(HDF5C_FOUND AND NOT TARGET HDF5C::HDF5C)
    add_library(HDF5C::HDF5C UNKNOWN IMPORTED)
    set_target_properties(
        HDF5C::HDF5C
        PROPERTIES IMPORTED_LOCATION ${hdf5c_real} INTERFACE_INCLUDE_DIRECTORIES ${HDF5C_INCLUDE_DIR}
    )
endif()
