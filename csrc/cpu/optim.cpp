#include "optim.h"

#include <algorithm>
#include <deque>
#include <stdexcept>
#include <string>

#include "../common/check.h"
#include "isa.h"

namespace convgpu::cpu {
namespace {

DType accumulator_of(DType dtype) { return dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32; }

// Throws unless the list is as long as the other one, and its arrays have the shapes of those, one dtype and no gaps.
void check_list(const char* op, const std::string& name, const std::vector<Array>& list, const std::vector<Array>& like,
                DType dtype) {
    if (list.size() != like.size()) {
        throw std::invalid_argument(std::string(op) + ": expected " + std::to_string(like.size()) + " arrays of " +
                                    name + ", got " + std::to_string(list.size()));
    }
    for (size_t i = 0; i < list.size(); ++i) {
        check_array(op, (name + "[" + std::to_string(i) + "]").c_str(), list[i], like[i].shape, dtype);
    }
}

void check_step(const char* op, const StepLists& lists, size_t slots) {
    const std::vector<Array>& params = lists.params;
    if (params.empty()) return;
    check_float(op, "params[0]", params[0]);
    const DType dtype = params[0].dtype, wide = accumulator_of(dtype);
    check_list(op, "params", params, params, dtype);
    if (!lists.grads.empty()) check_float(op, "grads[0]", lists.grads[0]);
    check_list(op, "grads", lists.grads, params, lists.grads.empty() ? dtype : lists.grads[0].dtype);
    check_list(op, "new params", lists.new_params, params, dtype);
    if (lists.slots.size() != slots || lists.new_slots.size() != slots) {
        throw std::invalid_argument(std::string(op) + ": expected " + std::to_string(slots) +
                                    " lists of slots and of new slots, got " + std::to_string(lists.slots.size()) +
                                    " and " + std::to_string(lists.new_slots.size()));
    }
    for (size_t i = 0; i < slots; ++i) {
        check_list(op, "slots", lists.slots[i], params, wide);
        check_list(op, "new slots", lists.new_slots[i], params, wide);
    }
    if (lists.copies.empty()) return;
    check_float(op, "copies[0]", lists.copies[0]);
    check_list(op, "copies", lists.copies, params, lists.copies[0].dtype);
}

constexpr int64_t kPartElements = 1 << 15;

std::vector<ListPart> parts_of(const std::vector<Array>& arrays) {
    std::vector<ListPart> parts;
    for (size_t i = 0; i < arrays.size(); ++i) {
        const int64_t size = arrays[i].size();
        for (int64_t begin = 0; begin < size; begin += kPartElements) {
            parts.push_back({i, begin, std::min(kPartElements, size - begin)});
        }
    }
    return parts;
}

// The addresses of the arrays of several lists, for as long as a call lasts.
class Addresses {
public:
    List of(const std::vector<Array>& list) {
        if (list.empty()) return {};
        kept_.emplace_back();
        for (const Array& array : list) kept_.back().push_back(array.as<char>());
        return {kept_.back().data(), list[0].dtype};
    }

private:
    std::deque<std::vector<char*>> kept_;
};

void run_step(void (*kernel)(const StepCall&), const StepLists& lists, StepCall call) {
    Addresses addresses;
    const std::vector<ListPart> parts = parts_of(lists.params);
    call.parts = {parts.data(), static_cast<int64_t>(parts.size())};
    call.params = addresses.of(lists.params);
    call.grads = addresses.of(lists.grads);
    call.new_params = addresses.of(lists.new_params);
    for (size_t i = 0; i < lists.slots.size(); ++i) {
        call.slots[i] = addresses.of(lists.slots[i]);
        call.new_slots[i] = addresses.of(lists.new_slots[i]);
    }
    call.copies = addresses.of(lists.copies);
    kernel(call);
}

}  // namespace

void sgd_step(const StepLists& lists, const SgdNumbers& numbers, int threads) {
    check_step("sgd_step", lists, numbers.momentum != 0);
    if (lists.params.empty()) return;
    StepCall call;
    call.sgd = numbers;
    call.threads = threads;
    run_step(kernels_for(lists.params[0].dtype).sgd_step, lists, call);
}

void adam_step(const StepLists& lists, const AdamNumbers& numbers, int threads) {
    check_step("adam_step", lists, 2);
    if (lists.params.empty()) return;
    StepCall call;
    call.adam = numbers;
    call.threads = threads;
    run_step(kernels_for(lists.params[0].dtype).adam_step, lists, call);
}

double global_norm(const std::vector<Array>& xs, int threads) {
    double norm = 0;
    if (xs.empty()) return norm;
    check_float("global_norm", "xs[0]", xs[0]);
    check_list("global_norm", "xs", xs, xs, xs[0].dtype);
    GlobalNormCall call;
    Addresses addresses;
    const std::vector<ListPart> parts = parts_of(xs);
    call.parts = {parts.data(), static_cast<int64_t>(parts.size())};
    call.xs = addresses.of(xs);
    call.norm = &norm;
    call.threads = threads;
    kernels_for(xs[0].dtype).global_norm(call);
    return norm;
}

void cast_all(const std::vector<Array>& xs, const std::vector<Array>& ys, const double* divisor, int threads) {
    if (xs.empty() && ys.empty()) return;
    if (!xs.empty()) check_float("cast_all", "xs[0]", xs[0]);
    if (!ys.empty()) check_float("cast_all", "ys[0]", ys[0]);
    check_list("cast_all", "ys", ys, xs, ys.empty() ? xs[0].dtype : ys[0].dtype);
    check_list("cast_all", "xs", xs, xs, xs[0].dtype);
    CastCall call;
    Addresses addresses;
    const std::vector<ListPart> parts = parts_of(xs);
    call.parts = {parts.data(), static_cast<int64_t>(parts.size())};
    call.xs = addresses.of(xs);
    call.ys = addresses.of(ys);
    call.divided = divisor != nullptr;
    call.divisor = divisor ? *divisor : 1;
    call.threads = threads;
    kernels_for(xs[0].dtype).cast_all(call);
}

}  // namespace convgpu::cpu
