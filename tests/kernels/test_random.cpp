// Runs dropout on arrays of exactly the bytes that they need, around the sizes of a thread's and a block's part. The
// sanitizers watch this program.
#include "../../csrc/random/random.h"
#include "owned.h"

using namespace convgpu;

namespace {

// Words 0 to 3 of Philox4x32-10 where key and counter are 0: a known answer of Random123.
constexpr uint32_t kFirstWords[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};

void run(int64_t size, DType dtype, int shift, const random::State& state, double rate) {
    Owned x({size}, dtype, shift);
    const Owned y({size}, dtype, shift), again({size}, dtype, shift);
    for (int64_t i = 0; i < size; ++i) x.set(i, static_cast<double>(i % 7) + 1);
    const int alignment = shift == 0 ? 16 : static_cast<int>(size_of(dtype));
    const random::Plan plan = random::plan(random::Op::kDropout, size, dtype, alignment);
    random::dropout(x.array, y.array, plan, state, rate, nullptr);
    random::dropout(x.array, again.array, random::plan(random::Op::kDropout, size, dtype, 1), state, rate, nullptr);
    const double scale = rate < 1 ? 1 / (1 - rate) : 0;
    std::vector<double> expected;
    for (int64_t i = 0; i < size; ++i) {
        const bool kept = state.seed == 0 && i < 4 ? (kFirstWords[i] >> 8) / 16777216.0 >= rate : again.get(i) != 0;
        expected.push_back(kept ? x.get(i) * scale : 0);
    }
    compare(y, expected, std::max(2 * rounding_of(dtype), 1e-6), plan.text());
}

}  // namespace

TEST(dropout_around_the_parts_of_threads_and_blocks) {
    constexpr uint64_t kLast = ~uint64_t(0);
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32, DType::kFloat64}) {
        for (const int64_t size : {0, 1, 3, 4, 5, 8, 9, 1024, 2051, 4099}) {
            for (const int shift : {0, 1}) {
                in_turn([&] { run(size, dtype, shift, {0, 0, 0}, 0.5); });
                in_turn([&] { run(size, dtype, shift, {kLast, kLast, kLast - 2}, 0.75); });
                in_turn([&] { run(size, dtype, shift, {0, 0, 0}, 1.0); });
            }
        }
    }
}
