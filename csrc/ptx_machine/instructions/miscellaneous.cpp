// 9.7.19 Miscellaneous Instructions.
#include "lanes.h"

namespace convgpu::ptx {
namespace {

void nothing(Warp&, const Step&, Mask) {}
void build_nothing(Builder& b) { b.emit(&nothing, {}); }

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
    t.family("setmaxnreg", build_nothing);
    t.section("9.7.13 griddepcontrol");
    t.family("griddepcontrol", build_nothing);
}

}  // namespace convgpu::ptx
