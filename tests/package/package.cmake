# One case of the package tests, in script mode; each works in a folder of its own.

set(here ${CMAKE_CURRENT_LIST_DIR})
set(folder ${CXR_BINARY_DIR}/package-test/${CASE})
set(prefix ${folder}/prefix)
set(build ${folder}/build)
file(REMOVE_RECURSE ${folder})

function(run)
    execute_process(COMMAND ${ARGV} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(NOT status EQUAL 0)
        message(FATAL_ERROR "${ARGV}\nended with ${status}:\n${output}")
    endif()
    set(output "${output}" PARENT_SCOPE)
endfunction()

function(expect_sentence sentence) # in `output`
    string(REGEX REPLACE "[ \n]+" " " output "${output}") # CMake breaks its lines
    string(FIND "${output}" "${sentence}" found)
    if(found EQUAL -1)
        message(FATAL_ERROR "Not found: ${sentence}\nin: ${output}")
    endif()
endfunction()

function(expect_failure sentence)
    execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(status EQUAL 0)
        message(FATAL_ERROR "${ARGN}\nsucceeded, where it should say: ${sentence}")
    endif()
    expect_sentence("${sentence}")
endfunction()

function(expect_file path)
    if(NOT EXISTS ${path})
        message(FATAL_ERROR "${path} was not installed")
    endif()
endfunction()

function(install_headers)
    run(${CMAKE_COMMAND} --install ${CXR_BINARY_DIR} --prefix ${prefix} --component cxr_development)
endfunction()

set(configure ${CMAKE_COMMAND} -G ${GENERATOR} -D CMAKE_CXX_COMPILER=${COMPILER} "-DCMAKE_CXX_FLAGS=${FLAGS}" -B ${build})
set(find_installed ${configure} -D CMAKE_PREFIX_PATH=${prefix})

if(CASE STREQUAL "every_component")
    install_headers()
    run(${find_installed} -S ${here}/consumer -D COMPONENTS=eigen,xtensor,onednn,image,table,keras,onnx,thrust)
    run(${CMAKE_COMMAND} --build ${build})
    run(${build}/consumer)
elseif(CASE STREQUAL "core_only")
    install_headers()
    set(hidden "")
    foreach(package IN ITEMS Eigen3 xtl xtensor OpenCL dnnl PNG JPEG ZLIB HDF5C LibArchive Protobuf ONNX Thrust CUDAToolkit)
        list(APPEND hidden -D CMAKE_DISABLE_FIND_PACKAGE_${package}=ON)
    endforeach()
    run(${find_installed} -S ${here}/core_only ${hidden})
    run(${CMAKE_COMMAND} --build ${build})
    run(${build}/core_only)
elseif(CASE STREQUAL "thrust")
    install_headers()
    run(${find_installed} -S ${here}/parallel -D COMPONENT=thrust -D CMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON -D CMAKE_CUDA_COMPILER=NOTFOUND
        -D Thrust_DIR=/usr/share/cmake/thrust)
    run(${CMAKE_COMMAND} --build ${build})
    run(${build}/parallel)
elseif(CASE STREQUAL "cuda")
    install_headers()
    run(${find_installed} -S ${here}/parallel -D COMPONENT=cuda)
    run(${CMAKE_COMMAND} --build ${build})
    run(${build}/parallel)
elseif(CASE STREQUAL "without_cuda")
    run(
        ${CMAKE_COMMAND} -G ${GENERATOR} -D CMAKE_CXX_COMPILER=${COMPILER} -S ${CXR_SOURCE_DIR} -B ${folder}/library -D CMAKE_CUDA_COMPILER=NOTFOUND
    )
    expect_sentence("cxr: no CUDA compiler was found: cxr::cuda, the backend cuda and their tests are left out")
elseif(CASE STREQUAL "pkg_config")
    install_headers()
    file(RENAME ${prefix} ${folder}/moved) # the files name no folder but their own
    set(ENV{PKG_CONFIG_PATH} ${folder}/moved/share/pkgconfig)
    separate_arguments(own UNIX_COMMAND "${FLAGS}")
    function(compile source name) # packages
        run(pkg-config --cflags --libs ${ARGN})
        separate_arguments(flags UNIX_COMMAND "${output}")
        run(${COMPILER} ${own} -std=c++20 ${source} -o ${folder}/${name} ${flags})
        run(${CMAKE_COMMAND} -E chdir ${folder} ${folder}/${name})
    endfunction()
    compile(${here}/core_only/main.cpp core_only cxr)
    foreach(component IN ITEMS eigen xtensor onednn image table keras onnx thrust)
        compile(${here}/uses/${component}.cpp ${component} cxr-${component})
    endforeach()
    run(pkg-config --modversion cxr cxr-image)
    file(STRINGS ${CXR_SOURCE_DIR}/include/cxr/version.hpp version REGEX "version = \"")
    string(REGEX REPLACE ".*\"([0-9.]+)\".*" "\\1" version "${version}")
    if(NOT output STREQUAL "${version}\n${version}\n")
        message(FATAL_ERROR "pkg-config says version ${output}, where version.hpp says ${version}")
    endif()
    run(pkg-config --cflags cxr)
    if(NOT output MATCHES "^-I[^ ]+/include( -pthread)? *\n$")
        message(FATAL_ERROR "cxr.pc gives flags that are the consumer's to choose: ${output}")
    endif()
elseif(CASE STREQUAL "pages") # what README.md and the pages tell a consumer to write
    install_headers()
    set(ENV{PKG_CONFIG_PATH} ${prefix}/share/pkgconfig)
    foreach(page IN ITEMS README getting-started)
        set(file ${CXR_SOURCE_DIR}/docs/${page}.md)
        if(page STREQUAL "README")
            set(file ${CXR_SOURCE_DIR}/README.md)
        endif()
        file(READ ${file} text)
        if(NOT text MATCHES "```cmake\n([^`]*)```")
            message(FATAL_ERROR "${file} shows no CMake")
        endif()
        set(block "${CMAKE_MATCH_1}")
        file(COPY_FILE ${here}/core_only/main.cpp ${folder}/yours.cpp)
        file(
            WRITE ${folder}/CMakeLists.txt
            "cmake_minimum_required(VERSION 3.25)\nproject(page LANGUAGES CXX)\nadd_executable(yours yours.cpp)\n${block}"
        )
        file(REMOVE_RECURSE ${build})
        run(${find_installed} -S ${folder})
        run(${CMAKE_COMMAND} --build ${build})
        run(${build}/yours)
        string(REGEX MATCHALL "\n(g[+][+] [^\n]+)" lines "${text}")
        foreach(line IN LISTS lines)
            run(sh -c "cd ${folder} && ${line}")
            run(${folder}/yours)
        endforeach()
    endforeach()
elseif(CASE STREQUAL "subdirectory")
    run(${configure} -S ${here}/core_only -D CXR_SUBDIRECTORY=${CXR_SOURCE_DIR})
    run(${CMAKE_COMMAND} --build ${build})
    run(${build}/core_only)
elseif(CASE STREQUAL "missing_third_party")
    install_headers()
    foreach(
        triple
        IN ITEMS
            "eigen Eigen3 libeigen3-dev" "xtensor xtensor libxtensor-dev" "onednn dnnl libdnnl-dev"
            "onednn OpenCL ocl-icd-opencl-dev" "image PNG libpng-dev" "image JPEG libjpeg62-turbo-dev" "table ZLIB zlib1g-dev" "keras HDF5C libhdf5-dev" "keras LibArchive libarchive-dev" "onnx Protobuf libprotobuf-dev" "onnx ONNX libonnx-dev"
            "thrust Thrust libthrust-dev"
    )
        string(REPLACE " " ";" triple "${triple}")
        list(GET triple 0 component)
        list(GET triple 1 package)
        list(GET triple 2 debian_package)
        file(REMOVE_RECURSE ${build})
        expect_failure(
            "cxr's component '${component}' needs ${package} (Debian package ${debian_package}), which was not found."
            ${find_installed} -S ${here}/consumer -D COMPONENTS=${component} -D CMAKE_DISABLE_FIND_PACKAGE_${package}=ON
        )
    endforeach()
elseif(CASE STREQUAL "unknown_component")
    install_headers()
    expect_failure(
        "cxr has no component 'eigne'; it has: eigen, xtensor, onednn, image, table, keras, onnx, thrust, cuda."
        ${find_installed} -S ${here}/consumer -D COMPONENTS=eigne
    )
elseif(CASE STREQUAL "component_left_out")
    run(
        ${CMAKE_COMMAND} -G ${GENERATOR} -D CMAKE_CXX_COMPILER=${COMPILER} -S ${CXR_SOURCE_DIR} -B ${folder}/library
        -D CXR_ONEDNN=OFF -D CXR_TESTS=OFF -D CXR_EXAMPLES=OFF -D CXR_BENCHMARKS=OFF
    )
    run(${CMAKE_COMMAND} --install ${folder}/library --prefix ${prefix})
    run(${find_installed} -S ${here}/consumer -D COMPONENTS=eigen)
    file(REMOVE_RECURSE ${build})
    expect_failure(
        "cxr was installed without its component 'onednn'."
        ${find_installed} -S ${here}/consumer -D COMPONENTS=onednn
    )
elseif(CASE STREQUAL "program")
    run(${CMAKE_COMMAND} --install ${CXR_BINARY_DIR} --prefix ${prefix} --component cxr_trainer)
    run(${prefix}/bin/cxr --version)
    expect_file(${prefix}/share/cxr/nih-sample/train.csv)
    expect_file(${prefix}/share/cxr/nih-sample/README.md)
    expect_file(${prefix}/share/cxr/nih-sample/images/00000001_000.png)
else()
    message(FATAL_ERROR "There is no case ${CASE}")
endif()
