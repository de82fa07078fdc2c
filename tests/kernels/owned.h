// The programs under sanitizers share this file: arrays of exactly the bytes that they need, filled and compared in any
// dtype, and the settings in which kernels run in turn.
#pragma once
#include <cstdlib>
#include <memory>
#include <new>
#include <tuple>

#include "../../csrc/common/dispatch.h"
#include "../../csrc/common/workspace.h"
#include "../../csrc/emulator/config.h"
#include "../emulator/testing.h"

// An array without a byte to spare, so that AddressSanitizer sees the first byte beyond it. At first all bits are ones,
// which is NaN in every float type.
struct Owned {
    static constexpr std::align_val_t kAlignment{convgpu::Workspace::kAlignment};
    struct Free {
        void operator()(char* p) const { ::operator delete[](p, kAlignment); }
    };
    std::unique_ptr<char[], Free> memory;
    convgpu::Array array;

    // The array begins `shift` elements past an address at which a workspace may begin.
    Owned(convgpu::Shape shape, convgpu::DType dtype, int shift = 0) {
        array.shape = std::move(shape);
        array.dtype = dtype;
        auto step = static_cast<int64_t>(convgpu::size_of(dtype));
        const auto skipped = static_cast<size_t>(shift * step);
        array.strides.resize(array.shape.size());
        for (size_t a = array.shape.size(); a-- > 0; step *= array.shape[a]) array.strides[a] = step;
        memory.reset(static_cast<char*>(::operator new[](skipped + static_cast<size_t>(step), kAlignment)));
        std::memset(memory.get(), 0xff, skipped + static_cast<size_t>(step));
        array.data = memory.get() + skipped;
    }

    double get(int64_t i) const {
        using convgpu::DType;
        switch (array.dtype) {
            case DType::kUInt8:
                return array.as<uint8_t>()[i];
            case DType::kUInt16:
                return array.as<uint16_t>()[i];
            case DType::kInt32:
                return array.as<int32_t>()[i];
            case DType::kInt64:
                return static_cast<double>(array.as<int64_t>()[i]);
            default:
                break;
        }
        double value = 0;
        convgpu::dispatch_float(array.dtype, [&](auto type) {
            using T = convgpu::TypeOf<decltype(type)>;
            if constexpr (std::is_same_v<T, double>)
                value = array.as<T>()[i];
            else
                value = static_cast<float>(array.as<T>()[i]);
        });
        return value;
    }

    void set(int64_t i, double value) {
        convgpu::dispatch_float(array.dtype, [&](auto type) {
            using T = convgpu::TypeOf<decltype(type)>;
            if constexpr (std::is_same_v<T, double>)
                array.as<T>()[i] = value;
            else
                array.as<T>()[i] = static_cast<T>(static_cast<float>(value));
        });
    }

    // Fills the array with whole numbers from -4 to 4. Products and sums of some thousands of them are exact in every
    // accumulator.
    void fill(unsigned seed) {
        std::mt19937 random(seed);
        for (int64_t i = 0; i < array.size(); ++i) set(i, static_cast<int>(random() % 9) - 4);
    }
};

// Marks functions that compute expected results. The sanitizers watch kernels, and would otherwise spend most of their
// time in these functions. Functions that these call are still watched, so their loops use plain pointers.
#define NOT_WATCHED __attribute__((no_sanitize("address", "thread", "undefined")))

inline std::vector<double> values_of(const Owned& owned) {
    std::vector<double> values;
    for (int64_t i = 0; i < owned.array.size(); ++i) values.push_back(owned.get(i));
    return values;
}

// Returns how much one rounding to the dtype may change a value, relative to it: half of the distance between
// neighbours.
inline double rounding_of(convgpu::DType dtype) {
    switch (dtype) {
        case convgpu::DType::kBFloat16:
            return 1.0 / 256;
        case convgpu::DType::kFloat16:
            return 1.0 / 2048;
        case convgpu::DType::kFloat32:
            return 1.0 / (1 << 24);
        default:
            return 0;
    }
}

// Throws unless every element is within `tolerance`, relative and (for sums near 0) absolute, of the expected one.
inline void compare(const Owned& got, const std::vector<double>& expected, double tolerance, const std::string& what) {
    for (int64_t i = 0; i < got.array.size(); ++i) {
        const double error = std::abs(got.get(i) - expected[i]);
        if (error <= tolerance * std::abs(expected[i]) + tolerance / 64) continue;
        throw std::runtime_error(what + ": expected " + std::to_string(expected[i]) + " at " + std::to_string(i) +
                                 ", got " + std::to_string(got.get(i)));
    }
}

// Runs one problem in the next of nine settings. These are three orders of threads times three timings: copies late and
// MMAs early, copies early and MMAs late, or both at random moments. With CONVGPU_FULL_PRODUCT=1 it runs the problem in
// all nine.
template <class Problem>
void in_turn(Problem&& problem) {
    using namespace convgpu::emulator;
    static const char* const full = std::getenv("CONVGPU_FULL_PRODUCT");
    const int turns = full && std::strcmp(full, "1") == 0 ? 9 : 1;
    for (int i = 0; i < turns; ++i, ++testing::runs()) {
        const int turn = testing::runs();
        const Order orders[] = {Order::kAscending, Order::kDescending, Order::kRandom};
        const std::pair<Timing, Timing> timings[] = {
            {Timing::kLazy, Timing::kEager}, {Timing::kEager, Timing::kLazy}, {Timing::kRandom, Timing::kRandom}};
        config().order = orders[turn % 3];
        std::tie(config().copy, config().mma) = timings[turn / 3 % 3];
        config().seed = static_cast<uint64_t>(turn);
        try {
            problem();
        } catch (const std::exception& e) {
            const char* const names[] = {"ascending", "descending", "random"};
            const char* const when[] = {"copies late, MMAs early", "copies early, MMAs late", "both at random moments"};
            throw std::runtime_error(std::string(e.what()) + " (threads " + names[turn % 3] + ", " +
                                     when[turn / 3 % 3] + ", seed " + std::to_string(turn) + ")");
        }
    }
}
