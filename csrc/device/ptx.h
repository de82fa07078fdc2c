// Every instruction that has no C++ spelling has a function here. All inline PTX of the project lies in the folder
// ptx/. Under any compiler but nvcc the same functions call the emulator.
#pragma once
#include "ptx/async_copy.h"
#include "ptx/barrier.h"
#include "ptx/mbarrier.h"
#include "ptx/mma.h"
#include "ptx/tma.h"
#include "ptx/wgmma.h"
