// `recorded FORMAT INSTRUCTION IN OUT` computes d = c + sum of a[k] * b[k] for every case in the file IN, by an
// emulated instruction. FORMAT is bf16, fp16 or tf32, and INSTRUCTION is mma or wgmma. IN holds, for all cases, first
// a, then b (16 uint16 per case, or 8 uint32 for tf32), then c (float32). OUT receives the float32 results.
#include <fstream>
#include <iterator>

#include "kernels/dot.cuh"
#include "testing.h"

namespace {

using namespace convgpu;
using namespace samples;

template <class T>
std::vector<float> compute(const std::vector<char>& in, bool by_wgmma) {
    constexpr size_t kBytes = kProducts<T> * sizeof(Bits<T>);
    const size_t cases = in.size() / (2 * kBytes + 4);
    const auto* a = reinterpret_cast<const Bits<T>*>(in.data());
    const auto* b = a + cases * kProducts<T>;
    const auto* c = reinterpret_cast<const float*>(b + cases * kProducts<T>);
    std::vector<float> out(cases);
    const int n = static_cast<int>(cases);
    if (by_wgmma) {
        launch(dot_wgmma<T>, {dim3((n + 63) / 64), dim3(128), sizeof(DotSmem)}, nullptr, a, b, c, out.data(), n);
    } else {
        launch(dot_mma<T>, {dim3((n + 7) / 8), dim3(32)}, nullptr, a, b, c, out.data(), n);
    }
    return out;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) return 2;
    const std::string format = argv[1];
    const bool by_wgmma = std::string(argv[2]) == "wgmma";
    std::ifstream file(argv[3], std::ios::binary);
    const std::vector<char> in((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const auto out = format == "bf16"   ? compute<__nv_bfloat16>(in, by_wgmma)
                     : format == "fp16" ? compute<__half>(in, by_wgmma)
                                        : compute<ptx::Tf32>(in, by_wgmma);
    std::ofstream(argv[4], std::ios::binary)
        .write(reinterpret_cast<const char*>(out.data()), static_cast<std::streamsize>(out.size() * 4));
}
