// Compares division by a multiplication with the division of the language.
#include "../../csrc/common/divisor.h"
#include "../emulator/testing.h"

TEST(divisors_of_every_size) {
    std::mt19937 generator(1);  // mt19937_64 belongs to the emulator, and ThreadSanitizer would see its code twice
    const auto random = [&] { return uint64_t(generator()) << 32 | generator(); };
    std::vector<uint64_t> divisors = {1, 2, 3, 5, 7, 10, 641, 65535, 65536, 65537, (1u << 31) - 1};
    for (int bits = 1; bits < 62; ++bits) {
        for (const uint64_t near : {-1, 0, 1}) divisors.push_back(std::max<uint64_t>((uint64_t(1) << bits) + near, 1));
        divisors.push_back(std::max<uint64_t>(random() >> (63 - bits), 1));
    }
    for (const uint64_t d : divisors) {
        const convgpu::Divisor divisor(d);
        for (int i = 0; i < 2000; ++i) {
            uint64_t a = i < 64    ? (uint64_t(1) << (i % 63)) - (i & 1)
                         : i < 128 ? d * (random() % 1000 + 1) - (i & 1)
                                   : random() >> (random() % 63);
            a &= ~(uint64_t(1) << 63);
            testing::expect_equal(divisor.quotient(a), a / d, std::to_string(a) + " / " + std::to_string(d));
            uint64_t rest = a;
            testing::expect_equal(divisor.split(rest), a % d, std::to_string(a) + " % " + std::to_string(d));
            if (a < 1u << 31 && d < 1u << 31) {
                testing::expect_equal<uint64_t>(divisor.short_quotient(static_cast<uint32_t>(a)), a / d, "short");
            }
        }
    }
}
