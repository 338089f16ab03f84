# How this project compiles its own programs (tests, examples, trainer, benchmarks); nothing here reaches a consumer.

set(CMAKE_CXX_EXTENSIONS OFF)

set(cxr_warning_options -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
if(CXR_WERROR)
    list(APPEND cxr_warning_options -Werror)
endif()

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    list(APPEND cxr_warning_options -Wno-restrict) # mistaken about "literal" + std::string: GCC's bug 105651
endif()

add_library(cxr_warnings INTERFACE)
target_compile_options(cxr_warnings INTERFACE ${cxr_warning_options})

# The whole library and the flags of this project's programs.
add_library(cxr_program INTERFACE)
target_link_libraries(cxr_program INTERFACE cxr::cxr cxr_warnings)
foreach(component IN LISTS cxr_enabled_components)
    target_link_libraries(cxr_program INTERFACE cxr::${component})
endforeach()
if(CXR_NATIVE)
    target_compile_options(cxr_program INTERFACE -march=native)
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
