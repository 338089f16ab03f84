// SPDX-License-Identifier: Apache-2.0
// Focal, asymmetric, label-smoothed and pos_weight losses of PyTorch 2.15.0 and torchvision 0.29.2, in float64, soft targets among them. Made with
//
//     focal:      torchvision.ops.sigmoid_focal_loss(x, y, alpha, gamma)                       alpha = -1 where there is none
//     asymmetric: AsymmetricLoss.forward of github.com/Alibaba-MIIL/ASL without the clamp of its logarithms:
//                 xp = sigmoid(x); xn = (1 - xp + clip).clamp(max=1); pt = xp * y + xn * (1 - y)
//                 -(y * log(xp) + (1 - y) * log(xn)) * (1 - pt) ** (gp * y + gn * (1 - y))
//     pos_weight: binary_cross_entropy_with_logits(x, y, pos_weight=pw),   rows: the same with weight=rw[:, None]
//     smoothed:   binary_cross_entropy_with_logits(x, 0.9 * y + 0.05)
//
// `values` with reduction "none", `d_logits` by autograd through the sum.

#include "cxr/backend/reference/backend.hpp"
#include "cxr/loss/focused_loss.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

namespace {

using numbers = std::array<double, 12>;
using cxr::loss::absent;
using cxr::loss::reduction;
using reference = cxr::reference_backend;

constexpr numbers logits{-3.0, 0.5, 1.25, 2.0, -0.75, 0.1, 0.0, 4.0, -5.5, -12.0, 9.0, -2.0}, targets{0.0, 1.0, 0.3, 1.0, 0.0, 0.9, 1.0, 0.0, 0.0, 1.0, 1.0, 0.5};

struct framework {
    numbers values, d_logits;
};

constexpr framework focal_2_025{{{8.196249337274802e-05, 0.016893372629375906, 0.25235763224481916, 0.00045089070881009483, 0.029864402976805392, 0.04523503516474904, 0.04332169878499658, 2.9061804284680104, 5.0672682731324744e-08, 2.9999646710951335, 4.697372649634521e-13, 0.14086600138037159}},
                                {{0.00023615388486621075, -0.0344842493377286, 0.16408825598997462, -0.0012177350488481945, 0.06533224652159147, -0.06352371245102034, -0.07457169878499659, 0.8147968898136266, 1.5150236610463624e-07, -0.2500322565108408, -1.4090668867180146e-12, -0.0475996347472353}}};
constexpr framework focal_05{{{0.010581101849395957, 0.2912934651463975, 0.8808231861579612, 0.04382288099120445, 0.21912795243032127, 0.4533871686574185, 0.49012907173427356, 3.9818503200776685, 0.00026019501866041177, 11.999969279070362, 1.3707899165996056e-06, 0.7968584385175544}},
                             {{0.015367803025701343, -0.3226365328560928, 0.422980529818852, -0.060455266809653796, 0.2561301986517135, -0.3540431925787273, -0.47608565852684215, 1.0089515630479657, 0.0003892331384990857, -1.000027648705489, -2.0560157251203503e-06, -0.2692641960941832}}};
constexpr framework asl_1_4_005{{{0.0, 0.17898334166916527, 0.17808337150440523, 0.01513018980277796, 0.0016990005744605202, 0.24483269863368803, 0.34657359027997264, 2.0285764505296116, 0.0, 11.9999324140605, 1.5227160876694128e-08, 0.17094584443395036}},
                                {{0.0, -0.25394680774821254, 0.13461975556030173, -0.027535963586148647, 0.007075343314253559, -0.2780616313003691, -0.42328679513998635, 0.34980664861170874, 0.0, -1.0000614413685132, -3.0451503310476265e-08, -0.059712299151959504}}};
constexpr framework asl_0_2_02{{{0.0, 0.47407698418010663, 0.23636080154828934, 0.12692801104297263, 0.0018797147179407704, 0.5301838017088788, 0.6931471805599453, 0.931581719628306, 0.0, 12.000006144193478, 0.0001234021897233402, 0.4683479942989899}},
                               {{0.0, -0.37754066879814546, 0.12526068207601607, -0.11920292202211767, 0.01039784196532126, -0.38038096193012405, -0.5, 0.09163327715147242, 0.0, -0.9999938558253978, -0.0001233945759863131, -0.2497793225872316}}};
constexpr framework pos_weight{{{0.048587351573742055, 0.23703849209005334, 1.5804014277670442, 0.3807840331289175, 0.3868710061148999, 4.134138624470854, 2.0794415416798357, 4.0181499279178094, 0.004078443270571164, 36.00001843258043, 6.170109486162941e-05, 7.507712044171891}},
                               {{0.04742587317756678, -0.1887703343990727, 0.07643961128913501, -0.35760876606635295, 0.320821300824607, -2.940133200134784, -1.5, 0.9820137900379085, 0.004070137715896128, -2.999981567476193, -6.169728799315655e-05, -3.0231883119115297}}};
constexpr framework smoothed{{{0.1985873515737424, 0.49907698418010665, 1.1019290813453728, 0.22692801104297236, 0.4243710061149, 0.6583966600735709, 0.6931471805599453, 3.8181499279178097, 0.2790784432705715, 11.400006144193478, 0.45012340218972263, 1.1269280110429727}},
                             {{-0.0025741268224332217, -0.3275406687981455, 0.45729986117469107, -0.06920292202211775, 0.27082130082460704, -0.3350208125210601, -0.45000000000000007, 0.9320137900379084, -0.045929862284103874, -0.9499938558253979, 0.04987660542401362, -0.3807970779778824}}};
constexpr numbers rows_d{0.04742587317756678, -0.3775406687981454, 0.4772998611746911, -0.2980073050552942, 0.8020532520615176, -0.93755203130265, -0.25, 0.4910068950189542, 0.002035068857948064, -1.9999877116507956, -0.0002467891519726262, -0.7615941559557649}, focal_2_025_d_probabilities{0.005227342753378075, -0.14673916856320462, 0.9479128731263031, -0.011598185205012773, 0.29983362808696584, -0.2547306164693483, -0.29828679513998635, 46.130920141812446, 3.737503059249412e-05, -40694.447822494054, -1.1420605550307022e-08, -0.4533575509808774};

cxr::tensor<double, 2> matrix(numbers const& from) {
    cxr::tensor<double, 2> result({4, 3});
    result.assign(from.data());
    return result;
}

/// Frameworks form 1 - p_t in float64, where a good prediction's loses its digits: some 1e-11 here.
void require_same(cxr::tensor<double, 2> const& is, numbers const& should) {
    for (std::size_t k = 0; k < 12; ++k) {
        INFO("entry " << k << ": " << is[k] << ", expected " << should[k]);
        REQUIRE(std::abs(is[k] - should[k]) <= 1e-9 * std::abs(should[k]));
    }
}

template <class Loss>
void require_same(Loss const& loss, framework const& expected) {
    auto const x = matrix(logits), y = matrix(targets);
    cxr::tensor<double, 2> losses({4, 3}), gradient({4, 3});
    loss.unreduced(y, x, losses);
    require_same(losses, expected.values);
    double sum = 0;
    for (double const v : expected.values) sum += v;
    REQUIRE(loss.gradient(y, x, gradient) == Approx(sum).epsilon(1e-13));
    require_same(gradient, expected.d_logits);
}

cxr::context<reference> const ctx(1);

}  // namespace

TEST_CASE("the focal loss is torchvision's, soft targets and alpha included", "[golden][loss]") {
    require_same(cxr::focal_logits_loss<reference>(ctx, {.gamma = 2, .alpha = 0.25}, {}, {}, reduction::sum), focal_2_025);
    require_same(cxr::focal_logits_loss<reference>(ctx, {.gamma = 0.5, .alpha = {}}, {}, {}, reduction::sum), focal_05);
    double sum = 0;
    for (double const v : focal_2_025.values) sum += v;
    CHECK(cxr::focal_logits_loss<reference>(ctx, {}, {}, {}, reduction::mean)(matrix(targets), matrix(logits)) == Approx(sum / 12).epsilon(1e-13));
}

TEST_CASE("the focal loss of probabilities has the same values, and torch's derivatives by them", "[golden][loss]") {
    cxr::focal_loss<reference> const loss(ctx, {}, {}, {}, reduction::sum, 0.0);
    auto p = matrix(logits);
    for (std::size_t k = 0; k < 12; ++k) p[k] = 1 / (1 + std::exp(-p[k]));
    cxr::tensor<double, 2> losses({4, 3}), gradient({4, 3});
    loss.unreduced(matrix(targets), p, losses);
    require_same(losses, focal_2_025.values);
    loss.gradient(matrix(targets), p, gradient);
    require_same(gradient, focal_2_025_d_probabilities);
}

TEST_CASE("the asymmetric loss is the authors', soft targets included", "[golden][loss]") {
    require_same(cxr::asymmetric_logits_loss<reference>(ctx, {}, {}, {}, reduction::sum), asl_1_4_005);
    require_same(cxr::asymmetric_logits_loss<reference>(ctx, {.gamma_positive = 0, .gamma_negative = 2, .margin = 0.2}, {}, {}, reduction::sum), asl_0_2_02);
}

TEST_CASE("pos_weight, label smoothing and weights of samples are PyTorch's", "[golden][loss]") {
    require_same(cxr::bce_logits_loss<reference>(ctx, {}, {3, 0.5, 7}, {1, 1, 1}, reduction::sum), pos_weight);
    require_same(cxr::bce_logits_loss<reference>(ctx, {.smoothing = 0.1}, {}, {}, reduction::sum), smoothed);
    cxr::bce_logits_loss<reference> const sum(ctx, {}, {}, {}, reduction::sum);
    cxr::tensor<double, 2> gradient({4, 3});
    CHECK(sum.gradient(matrix(targets), matrix(logits), gradient, absent{}, std::vector<double>{1, 2.5, 0.5, 2}) == Approx(33.181885500904336).epsilon(1e-13));
    require_same(gradient, rows_d);
}
