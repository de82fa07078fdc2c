// The kernels' tests, and how many instances of kernels they launched.
#include "../../csrc/emulator/config.h"
#include "../emulator/testing.h"

int main(int argc, char** argv) {
    const int status = testing::run_tests(argc, argv);
    std::printf("%zu instances\n", convgpu::emulator::kernels_launched());
    return status;
}
