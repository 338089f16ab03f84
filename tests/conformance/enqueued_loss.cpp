// SPDX-License-Identifier: Apache-2.0
// Losses whose value nobody waits for, on the backends that have them: value and gradient have the bits of `gradient`.

#include "backends.hpp"
#include "conformance/loss_batch.hpp"

#include "cxr/loss/focused_loss.hpp"
#include "cxr/loss/weighted_logits_loss.hpp"
#include "cxr/loss/weighted_loss.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <vector>

namespace {

using conformance::layout;
using conformance::loss_batch;
using conformance::targets_kind;
using cxr::loss::reduction;

template <class Backend, class Key>
constexpr bool enqueues = cxr::implements<Backend, cxr::ops::deferred<Key>, cxr::context<Backend>&, cxr::ops::bce_weights const&, cxr::view<float const, 2> const&, cxr::view<float const, 2> const&,
                                          cxr::ops::optional_view<bool const> const&, cxr::ops::optional_view<float> const&, double*>;
template <class Backend, class Key>
constexpr bool enqueues_focused = cxr::implements<Backend, cxr::ops::deferred<cxr::ops::focused<Key>>, cxr::context<Backend>&, cxr::ops::focused_operands<float, float> const&, double*>;

/// What lies in the backend's memory.
template <class Backend, class T, std::size_t Rank>
using there = cxr::tensor<T, Rank, cxr::memory_of<Backend>>;

template <class T, std::size_t Rank, class Memory>
bool same(cxr::tensor<T, Rank, Memory> const& a, cxr::tensor<T, Rank, Memory> const& b) {
    auto const x = a.to_host(), y = b.to_host();
    return std::equal(x.begin(), x.end(), y.begin(), y.end());
}

/// One loss of a batch, whose gradient is then written in the place of the predictions too.
template <class Backend, class Target, class Loss, class T>
void check(cxr::context<Backend>& ctx, Loss const& loss, loss_batch<T> const& b) {
    auto const size = b.y.extents();
    std::vector<Target> labels(b.y.size());
    for (std::size_t k = 0; k < labels.size(); ++k) labels[k] = static_cast<Target>(std::isnan(b.memory_y[k]) && std::is_integral_v<Target> ? T(-1) : b.memory_y[k]);
    there<Backend, Target, 2> y(size);
    there<Backend, T, 2> x(size), expected(size), d(size, T(-77));
    there<Backend, double, 1> value({1}, -77.0);
    y.assign(labels.data());
    x.assign(b.memory_x.data());
    cxr::view<Target const, 2> const targets = y;
    double const should = loss.gradient(targets, cxr::view<T const, 2>(x), expected.view());
    loss.enqueue_gradient(ctx, targets, cxr::view<T const, 2>(x), d.view(), value.data());
    REQUIRE(value.to_host()[0] == should);
    REQUIRE(same(d, expected));
    // In place; what is written once may be rounded otherwise than what is written twice.
    expected = x;
    REQUIRE(loss.gradient(targets, cxr::view<T const, 2>(expected), expected.view()) == should);
    loss.enqueue_gradient(ctx, targets, cxr::view<T const, 2>(x), x.view(), value.data());
    REQUIRE(value.to_host()[0] == should);
    REQUIRE(same(x, expected));
}

/// Every loss of probabilities or of logits, of which the plain ones come before the others.
template <class Backend, class T, bool Logits>
void check_all() {
    using key = std::conditional_t<Logits, cxr::ops::weighted_bce_logits, cxr::ops::weighted_bce>;
    using weighted = std::conditional_t<Logits, cxr::weighted_logits_loss<Backend>, cxr::weighted_loss<Backend>>;
    using chosen = cxr::loss::focused_loss<Backend, cxr::loss::loss_form, key>;
    static_assert(enqueues_focused<Backend, key>, "a backend that enqueues one of the losses enqueues all");
    struct batch_size {
        std::size_t rows, classes;
    };
    for (auto const [rows, classes] : {batch_size{1, 1}, batch_size{33, 14}, batch_size{7, 130}, batch_size{1501, 3}})
        for (auto const kind : {targets_kind::hard, targets_kind::soft, targets_kind::unknown}) {
            loss_batch<T> const b(rows, classes, kind, layout::dense, Logits);
            auto ctx = cxr::test::with_threads<Backend>(rows > 1000 ? 2 : 1);  // small batches would mostly wait for a second thread
            auto const every = [&](auto const& loss) {
                check<Backend, T>(ctx, loss, b);
                if (kind != targets_kind::soft) check<Backend, std::int8_t>(ctx, loss, b);
            };
            INFO(Backend::name << ", " << rows << " x " << classes << ", kind " << int(kind) << ", logits " << Logits << ", bytes " << sizeof(T));
            every(weighted(ctx, b.positive, b.negative));
            every(chosen(ctx, cxr::loss::bce{}.form(), b.positive, b.negative));
            every(chosen(ctx, cxr::loss::bce{}.form()));
            for (auto const how : {reduction::sum_of_class_means, reduction::mean, reduction::sum})
                for (auto const& form : {cxr::loss::bce{}.form(), cxr::loss::bce{.smoothing = 0.1}.form(), cxr::loss::focal{}.form(), cxr::loss::asymmetric{}.form()})
                    every(chosen(ctx, form, b.positive, b.negative, how));
            every(cxr::loss::focused_loss<Backend, cxr::loss::focal, key>(ctx));
        }
}

}  // namespace

TEMPLATE_TEST_CASE("a loss that is enqueued, of every form, has the bits of one that is waited for", "[conformance][loss]", CXR_BACKENDS) {
    if constexpr (enqueues<TestType, cxr::ops::weighted_bce> || enqueues<TestType, cxr::ops::weighted_bce_logits>) {
        check_all<TestType, float, false>();
        check_all<TestType, float, true>();
        check_all<TestType, double, false>();
        check_all<TestType, double, true>();
    } else {
        STATIC_REQUIRE(cxr::memory_of<TestType>::host_accessible);  // a call returns with the loss; of a device that would be a wait in every step
    }
}
