// Runs dropout and the draws on arrays of exactly the bytes that they need, around the sizes of a thread's and a
// block's part. The sanitizers watch this program.
#include "../../csrc/random/random.h"
#include "owned.h"

using namespace convgpu;

namespace {

// Words 0 to 3 of Philox4x32-10 where key and counter are 0: a known answer of Random123.
constexpr uint32_t kFirstWords[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
constexpr uint64_t kLast = ~uint64_t(0);

// A state of 64-bit words, or of two 32-bit ones, and memory for the next one.
struct States {
    Owned from, next;

    explicit States(const std::vector<uint64_t>& words)
        : from({static_cast<int64_t>(words.size())}, words.size() == 3 ? DType::kUInt64 : DType::kUInt32),
          next(from.array.shape, from.array.dtype) {
        for (size_t i = 0; i < words.size(); ++i) {
            if (words.size() == 3) {
                from.array.as<uint64_t>()[i] = words[i];
            } else {
                from.array.as<uint32_t>()[i] = static_cast<uint32_t>(words[i]);
            }
        }
    }

    // Throws unless the next state is `blocks` further, or with a key its second word 1 larger.
    void check(uint64_t blocks) const {
        bool right;
        if (from.array.dtype == DType::kUInt64) {
            const auto *a = from.array.as<uint64_t>(), *b = next.array.as<uint64_t>();
            right = a[0] == b[0] && a[1] == b[1] && a[2] + blocks == b[2];
        } else {
            const auto *a = from.array.as<uint32_t>(), *b = next.array.as<uint32_t>();
            right = a[0] == b[0] && a[1] + 1 == b[1];
        }
        if (!right) throw std::runtime_error("expected the state behind " + std::to_string(blocks) + " blocks");
    }
};

random::Plan plan_of(random::Op op, int64_t size, DType dtype, int shift) {
    return random::plan(op, size, dtype, shift == 0 ? 16 : static_cast<int>(size_of(dtype)));
}

void drop(int64_t size, DType dtype, int shift, const std::vector<uint64_t>& words, double rate) {
    Owned x({size}, dtype, shift);
    const Owned y({size}, dtype, shift), again({size}, dtype, shift);
    for (int64_t i = 0; i < size; ++i) x.set(i, static_cast<double>(i % 7) + 1);
    const States states(words);
    const random::Plan plan = plan_of(random::Op::kDropout, size, dtype, shift);
    random::dropout(x.array, states.from.array, y.array, states.next.array, plan, rate, nullptr);
    states.check(static_cast<uint64_t>(size + 3) / 4);
    random::dropout(x.array, states.from.array, again.array, states.next.array,
                    random::plan(random::Op::kDropout, size, dtype, 1), rate, nullptr);
    const double scale = rate < 1 ? 1 / (1 - rate) : 0;
    std::vector<double> expected;
    for (int64_t i = 0; i < size; ++i) {
        const bool kept = words[0] == 0 && i < 4 ? (kFirstWords[i] >> 8) / 16777216.0 >= rate : again.get(i) != 0;
        expected.push_back(kept ? x.get(i) * scale : 0);
    }
    compare(y, expected, std::max(2 * rounding_of(dtype), 1e-6), plan.text());
}

using Launcher = void (*)(const Array&, const Array&, const Array&, const random::Plan&, double, double, Stream);

// Draws with vectors and without, which must give the same numbers; `first` are the first two.
void draw(random::Op op, Launcher launcher, int64_t size, DType dtype, int shift, const std::vector<uint64_t>& words,
          const std::vector<double>& first) {
    const Owned y({size}, dtype, shift), again({size}, dtype, 1);
    const States states(words);
    const random::Plan plan = plan_of(op, size, dtype, shift);
    launcher(states.from.array, y.array, states.next.array, plan, 1, 3, nullptr);
    const int64_t each = dtype == DType::kFloat64 ? 2 : 4;
    states.check(static_cast<uint64_t>((size + each - 1) / each));
    launcher(states.from.array, again.array, states.next.array, random::plan(op, size, dtype, 1), 1, 3, nullptr);
    std::vector<double> expected = values_of(again);
    for (size_t i = 0; words[0] == 0 && i < first.size() && i < expected.size(); ++i) expected[i] = first[i];
    compare(y, expected, std::max(2 * rounding_of(dtype), 1e-6), plan.text());
}

void draw_integers(int64_t size, DType dtype, int shift, const std::vector<uint64_t>& words) {
    const Owned y({size}, dtype, shift), again({size}, dtype, 1);
    const States states(words);
    const random::Plan plan = plan_of(random::Op::kIntegers, size, dtype, shift);
    random::integers(states.from.array, y.array, states.next.array, plan, -5, 100, nullptr);
    states.check(static_cast<uint64_t>(size + 1) / 2);
    random::integers(states.from.array, again.array, states.next.array,
                     random::plan(random::Op::kIntegers, size, dtype, 1), -5, 100, nullptr);
    std::vector<double> expected = values_of(again);
    if (words[0] == 0 && size > 0) expected[0] = std::floor(kFirstWords[1] / 4294967296.0 * 100) - 5;
    compare(y, expected, 0, plan.text());
}

}  // namespace

TEST(dropout_around_the_parts_of_threads_and_blocks) {
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32, DType::kFloat64}) {
        for (const int64_t size : {0, 1, 3, 4, 5, 8, 9, 1024, 2051, 4099}) {
            for (const int shift : {0, 1}) {
                in_turn([&] { drop(size, dtype, shift, {0, 0, 0}, 0.5); });
                in_turn([&] { drop(size, dtype, shift, {kLast, kLast, kLast - 2}, 0.75); });
                in_turn([&] { drop(size, dtype, shift, {0, 0}, 1.0); });
            }
        }
    }
}

TEST(numbers_around_the_parts_of_threads_and_blocks) {
    const double pi = std::acos(-1.0);
    const double u = (2.0 * kFirstWords[0] + 1) / 8589934592.0, v = (kFirstWords[1] + 0.5) / 4294967296.0;
    const double radius = std::sqrt(-2 * std::log(u)), angle = 2 * pi * v - pi / 4;
    const std::vector<double> uniform = {1 + (kFirstWords[0] >> 8) / 8388608.0, 1 + (kFirstWords[1] >> 8) / 8388608.0};
    const std::vector<double> normal = {1 + 3 * radius * std::cos(angle), 1 + 3 * radius * std::sin(angle)};
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32, DType::kFloat64}) {
        const bool wide = dtype == DType::kFloat64;  // its words are longer
        for (const int64_t size : {0, 1, 2, 3, 5, 8, 9, 1024, 2051, 4099}) {
            for (const int shift : {0, 1}) {
                for (const auto& words :
                     {std::vector<uint64_t>{0, 0, 0}, {kLast, kLast, kLast - 2}, {7, kLast >> 32}}) {
                    in_turn([&] {
                        draw(random::Op::kUniform, random::uniform, size, dtype, shift, words,
                             wide ? std::vector<double>{} : uniform);
                    });
                    in_turn([&] {
                        draw(random::Op::kNormal, random::normal, size, dtype, shift, words,
                             wide ? std::vector<double>{} : normal);
                    });
                    if (dtype == DType::kFloat32) in_turn([&] { draw_integers(size, DType::kInt32, shift, words); });
                    if (wide) in_turn([&] { draw_integers(size, DType::kInt64, shift, words); });
                }
            }
        }
    }
}
