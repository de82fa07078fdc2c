// Checks of clusters, elections and shares of registers on whichever machine runs the kernels. The tests and the Hopper
// probe use them.
#pragma once
#include "../../csrc/device/device_array.h"
#include "image.h"
#include "kernels/cluster.cuh"
#include "testing.h"

namespace checks {

using namespace convgpu;
using namespace samples;

inline void check_elections() {
    constexpr int kWarps = 3, kTimes = 7;
    const DeviceArray<int> out(std::vector<int>(32 * kWarps, -1));
    launch(count_elections, {dim3(1), dim3(32 * kWarps)}, nullptr, out.data(), kTimes);
    const auto elected = out.download();
    for (int warp = 0; warp < kWarps; ++warp) {
        int chosen = 0;
        for (int lane = 0; lane < 32; ++lane) {
            const int times = elected[32 * warp + lane];
            testing::expect(times == 0 || times == kTimes, "a lane was elected " + std::to_string(times) + " times");
            chosen += times != 0;
        }
        testing::expect_equal(chosen, 1, "lanes that were elected in warp " + std::to_string(warp));
    }
}

inline void check_cluster_memory() {
    const DeviceArray<float> out(std::vector<float>(16, -1));
    launch(pass_around_cluster, {dim3(8), dim3(64), 8, dim3(4)}, nullptr, out.data());
    const auto got = out.download();
    for (int i = 0; i < 8; ++i) {
        testing::expect_equal(got[8 + i], 100.0f + static_cast<float>((i + 1) % 4), "read from the next block");
        testing::expect_equal(got[i], 100.0f + static_cast<float>(i % 4), "written by the previous block");
    }
}

inline void check_multicast() {
    constexpr int kRows = 16, kColumns = 32, kBytes = 2 * kRows * kColumns * 4;
    const testing::Image image({kColumns, 2 * kRows, 1, 1, 1});
    const DeviceArray<float> values(image.values);
    TiledLayout layout;
    layout.tensor = image.view(2, values.data());
    layout.box = {kColumns, kRows};
    layout.swizzle = Swizzle::k128B;
    const DeviceArray<uint8_t> raw{std::vector<uint8_t>(2 * kBytes)};
    launch(multicast_halves, {dim3(2), dim3(64), sizeof(BoxSmem), dim3(2)}, nullptr, encode(layout), raw.data(), kRows,
           kColumns * 4);
    const auto bytes = raw.download();
    for (int block = 0; block < 2; ++block) {
        const std::vector<uint8_t> of_block(bytes.begin() + block * kBytes, bytes.begin() + (block + 1) * kBytes);
        const auto got = testing::unswizzled(of_block, Swizzle::k128B);
        for (size_t i = 0; i < image.values.size(); ++i) {
            testing::expect_equal(got[i], image.values[i],
                                  "block " + std::to_string(block) + ", element " + std::to_string(i));
        }
    }
}

inline void check_remote_arrivals() {
    constexpr int kRounds = 50;
    const DeviceArray<int> out(std::vector<int>(8, -1));
    launch(arrive_at_each_other, {dim3(8), dim3(32), 8, dim3(2)}, nullptr, out.data(), kRounds);
    for (int passed : out.download()) testing::expect_equal(passed, kRounds, "rounds of a block");
}

inline void check_register_shares() {
    const auto in = testing::random_integers<float>(384 + 96, 3);
    const DeviceArray<float> values(in), out(std::vector<float>(384, NAN));
    launch(move_registers, {dim3(4), dim3(384)}, nullptr, values.data(), out.data());
    const auto got = out.download();
    for (int i = 0; i < 384; ++i) {
        float sum = i < 128 ? in[i] : 0;
        for (int j = 0; j < 96 && i >= 128; ++j) sum += in[i + j] * in[i + 95 - j];
        testing::expect_equal(got[i], sum, "thread " + std::to_string(i));
    }
}

}  // namespace checks
