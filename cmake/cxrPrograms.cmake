# How this project compiles its own programs (tests, examples, trainer, benchmarks); nothing here reaches a consumer.

set(CMAKE_CXX_EXTENSIONS OFF)

set(cxr_warning_options -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
if(CXR_WERROR)
    list(APPEND cxr_warning_options -Werror)
endif()

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    list(APPEND cxr_warning_options -Wno-restrict) # mistaken about "literal" + std::string: GCC's bug 105651
endif()

if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    list(APPEND cxr_warning_options -Wno-sign-conversion -Wno-shorten-64-to-32) # -Wconversion as GCC has it, which leaves signs alone and looks at ranges
endif()

add_library(cxr_warnings INTERFACE)
target_compile_options(cxr_warnings INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${cxr_warning_options}>")

# CMake 3.25 does not know CUDA's C++20, so the flag is an option. Machine code for Ampere and Hopper, PTX for what comes after.
set(cxr_cuda_architectures 80-real 90)
set(cxr_cuda_test_architectures 80) # and its PTX: for programs that need no more than to run; the trainer has its code for all
target_compile_options(cxr_warnings INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;-Xcompiler=-Wall,-Wextra>")
if("-Wno-restrict" IN_LIST cxr_warning_options)
    target_compile_options(cxr_warnings INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wno-restrict>)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    set(heap --param=ggc-min-heapsize=400000) # in kB: below it g++ does not look for memory to give back, which takes a tenth of its time
    target_compile_options(cxr_warnings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${heap}> $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=${heap}>)
endif()
if(CXR_WERROR)
    target_compile_options(cxr_warnings INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Werror>")
endif()

# find_package for a need of the programs, whose absence names the Debian package.
macro(cxr_require package debian_package)
    find_package(${package} QUIET)
    if(NOT ${package}_FOUND)
        message(
            FATAL_ERROR
            "${package} (Debian package ${debian_package}) was not found. scripts/install-dependencies installs everything."
        )
    endif()
endmacro()

# The whole library and the flags of this project's programs; what CUDA's compiler must compile is added where it is.
add_library(cxr_program INTERFACE)
target_link_libraries(cxr_program INTERFACE cxr::cxr cxr_warnings)
foreach(component IN LISTS cxr_enabled_components)
    if(NOT component STREQUAL "cuda")
        target_link_libraries(cxr_program INTERFACE cxr::${component})
    endif()
endforeach()

# Thrust's systems. All of a program is compiled with OpenMP or none of it, because Eigen's inline functions differ. clang's OpenMP would load a second
# runtime beside the one that oneDNN brings, so there it is the one or the other; and the thread sanitizer does not see what GNU's runtime does.
option(CXR_OPENMP "Thrust's OpenMP system in this project's own programs" ON)
set(cxr_thrust_systems "")
if(CXR_THRUST AND (CXR_EXAMPLES OR CXR_TESTS OR CXR_BENCHMARKS))
    set(cxr_thrust_systems cpp tbb)
    if(CXR_OPENMP AND (CMAKE_CXX_COMPILER_ID STREQUAL "GNU" OR NOT CXR_ONEDNN))
        if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
            cxr_require(OpenMP libgomp1)
        else()
            cxr_require(OpenMP libomp-dev)
        endif()
        target_link_libraries(cxr_program INTERFACE OpenMP::OpenMP_CXX)
        target_compile_definitions(cxr_program INTERFACE CXR_WITH_THRUST_OMP)
        list(APPEND cxr_thrust_systems omp)
    else()
        message(STATUS "cxr: with ${CMAKE_CXX_COMPILER_ID}, CXR_OPENMP=${CXR_OPENMP} and CXR_ONEDNN=${CXR_ONEDNN} the backend thrust-omp is left out of tests and trainer")
    endif()
    cxr_require(TBB libtbb-dev)
    target_link_libraries(cxr_program INTERFACE TBB::tbb)
endif()
if(CXR_NATIVE)
    target_compile_options(cxr_program INTERFACE -march=native)
endif()
