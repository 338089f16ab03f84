// error: compile with -fopenmp, or include cxr/backend/thrust/cpp.hpp or tbb.hpp instead
// SPDX-License-Identifier: Apache-2.0
// Thrust's OpenMP system in a program that is compiled without OpenMP would run on one thread and say nothing.

#include "cxr/backend/thrust/omp.hpp"
