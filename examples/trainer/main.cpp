// SPDX-License-Identifier: Apache-2.0
// cxr: from a table of labels and X-rays to a trained, evaluated DenseNet on the command line.

#include "command.hpp"
#include "console.hpp"

#include "cxr/core/error.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>

#include <fcntl.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <sys/mman.h>
#include <unistd.h>

namespace {

using namespace cxr::trainer;

int fail(exit_status status, std::string const& message) {
    std::fflush(stdout);
    std::fputs(("cxr: error: " + one_line(message) + "\n").c_str(), stderr);
    return status;
}

// Weights are read, placed and packed in arrays of some MB each. From one heap, what one step gives back the next takes again, and in huge pages, where Linux gives them, it need not
// be cleared page by page.
void prepare_heap() {
#if defined(__GLIBC__) && defined(MADV_HUGEPAGE)
    constexpr std::size_t huge = std::size_t{2} << 20U, reserve = std::size_t{256} << 20U;
    mallopt(M_ARENA_MAX, 1);  // threads too take from it what they pack
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_TOP_PAD, static_cast<int>(reserve));
    void* const volatile first = std::malloc(huge);  // NOLINT(cppcoreguidelines-no-malloc): grows the heap by the reserve, of which nothing is touched yet
    std::free(first);                               // NOLINT(cppcoreguidelines-no-malloc): the heap keeps what it has grown by
    auto const top = reinterpret_cast<std::uintptr_t>(sbrk(0)) / huge * huge;
    if (top > reserve) madvise(reinterpret_cast<void*>(top - reserve + huge), reserve - huge, MADV_HUGEPAGE);  // NOLINT(performance-no-int-to-ptr): in vain outside the heap, or without huge pages
    mallopt(M_TOP_PAD, 128 << 10);
#endif
}

constexpr std::array planned_commands{"explain", "calibrate", "compare", "pack", "report"};

int run(int argc, char** argv) {
    if (argc > 1 && std::find(planned_commands.begin(), planned_commands.end(), std::string(argv[1])) != planned_commands.end())
        return fail(usage, "the command '" + std::string(argv[1]) + "' does not exist yet; there are stats, check, split, train, predict, evaluate, convert, bench and demo");

    CLI::App app("Chest X-rays: class statistics, leak check, splits, training, prediction and evaluation of DenseNets.", "cxr");
    chosen_command chosen;
    app.set_version_flag("--version", [] { return version_text(); }, "versions of cxr, the compiler, the backends built in and their libraries");
    app.require_subcommand(1);
    app.footer("Exit status: 0 done, 1 a file, data, memory or device is at fault, 2 wrong usage, 3 check found a leak, 130 interrupted.\n"
               "Not there yet: explain, calibrate, compare, pack, report; TensorBoard events.");
    add_demo(app, chosen);
    add_stats(app, chosen);
    add_check(app, chosen);
    add_split(app, chosen);
    add_train(app, chosen);
    add_predict(app, chosen);
    add_evaluate(app, chosen);
    add_convert(app, chosen);
    add_bench(app, chosen);
    // An option given twice counts as given last, so that scripts can append to a command.
    for (auto* const command : app.get_subcommands({}))
        for (auto* const option : command->get_options())
            if (option->get_expected_max() == 1 && option->get_items_expected_max() == 1) option->take_last();
    if (argc > 1 && argv[1][0] != '-' && app.get_subcommands([&](CLI::App const* c) { return c->get_name() == argv[1]; }).empty())
        return fail(usage, "unknown command '" + std::string(argv[1]) + "', expected one of stats, check, split, train, predict, evaluate, convert, bench and demo");
    try {
        app.parse(argc, argv);
    } catch (CLI::Success const& e) {
        return app.exit(e);
    } catch (CLI::ConversionError const& e) {
        // "Could not convert: --lr = abc": of what is converted, numbers alone can fail.
        std::string said = e.what();
        if (auto const at = said.find("--"); at != std::string::npos) said.erase(0, at);
        return fail(usage, said + ": expected a number");
    } catch (CLI::ParseError const& e) {
        return fail(usage, e.what());
    }
    return chosen();
}

// A file that is opened while one of the standard descriptors is closed would get its number, and then what is printed.
void occupy_standard_descriptors() {
    int descriptor = 0;
    while ((descriptor = ::open("/dev/null", O_RDWR)) >= 0 && descriptor <= STDERR_FILENO) {}
    if (descriptor >= 0) ::close(descriptor);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        occupy_standard_descriptors();
        prepare_heap();
        // A full disk, or a limit on file sizes, shall be an error of the write.
        std::signal(SIGXFSZ, SIG_IGN);
        int const status = run(argc, argv);
        if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) return fail(world, "standard output: not all of the result could be written");
        return status;
    } catch (interruption const&) {
        return interrupted;
    } catch (usage_error const& e) {
        return fail(usage, e.what());
    } catch (cxr::error const& e) {
        return fail(world, e.what());
    } catch (std::bad_alloc const&) {
        return fail(world, "out of memory; a smaller --batch or --size needs less");
    } catch (std::exception const& e) {
        return fail(world, e.what());
    }
}
