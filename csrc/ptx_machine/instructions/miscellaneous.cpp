// 9.7.19 Miscellaneous Instructions.
#include "lanes.h"

namespace convgpu::ptx {
namespace {

void nothing(Warp&, const Step&, Mask) {}
void build_nothing(Builder& b) { b.emit(&nothing, {}); }

// setmaxnreg.inc waits until registers are free. A multiprocessor has 65,536 of them, and no thread less than 24.
void set_registers(Warp& w, const Step& s, Mask) {
    const uint32_t before = w.most_registers;
    w.most_registers = s.count * 8u;
    uint32_t all = 0;
    for (const Warp* o : w.block->warps) {
        if (!o->done) all += 32 * (o->most_registers ? o->most_registers : 24);
    }
    if (all <= 65536) return;
    w.most_registers = before;
    --w.step;  // the warp comes here again
    w.stopped = w.spinning = true;
}

// setmaxnreg.inc/dec.sync.aligned.u32 number
void build_registers(Builder& b) {
    const uint64_t number = b.integer(0);
    if (number % 8 || number < 24 || number > 256) throw Error("expected a multiple of 8 from 24 to 256");
    b.emit(&set_registers, {}, Flow::kMayStop).count = static_cast<uint8_t>(number / 8);
}

// The warp gives others their turn.
void sleep(Warp& w, const Step&, Mask) { w.stopped = w.spinning = true; }

}  // namespace

void add_miscellaneous(Table& t) {
    t.section("9.7.19 brkpt");
    t.family("brkpt", build_nothing);
    t.section("9.7.19 nanosleep");
    t.family("nanosleep", [](Builder& b) { b.emit(&sleep, {}, Flow::kMayStop); });
    t.section("9.7.19 pmevent");
    t.family("pmevent", build_nothing);
    t.section("9.7.19 trap");
    t.family("trap", [](Builder& b) {
        b.emit([](Warp& w, const Step& s,
                  Mask lanes) { fault(w, s, __builtin_ctz(lanes), "trap", "the kernel executes trap"); },
               {});
    });
    t.section("9.7.19 setmaxnreg");
    t.family("setmaxnreg", build_registers);
    t.section("9.7.13 griddepcontrol");
    t.family("griddepcontrol", build_nothing);
}

}  // namespace convgpu::ptx
