// The objectives, and the rules that follow from them: how fast the budget of errors burns, over a long window and a short one
// (Google's SRE Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts"). `node deploy/make.mjs` writes slo.rules.yaml.

/** A budget lasts for 30 days. */
export const SLOS = [
  {
    name: 'opening',
    alert: 'TunnelOpeningBudget',
    asked: 'attempts to open a stream',
    objective: 0.999,
    metric: 'tunnel_stream_opens_total',
    bad: 'INTERNAL|OVERLOADED|POOL_EXHAUSTED|SHUTTING_DOWN|STATE_UNAVAILABLE|TIMEOUT',
  },
  {
    name: 'resuming',
    alert: 'TunnelResumingBudget',
    asked: 'attempts to resume a stream',
    objective: 0.99,
    metric: 'tunnel_stream_resumes_total',
    bad: 'AGENT_LOST|INTERNAL|LINK_LOST|MACHINE_OFFLINE|OVERLOADED|RESUME_EXPIRED|SHUTTING_DOWN|STATE_UNAVAILABLE|TIMEOUT|UNKNOWN_STREAM',
  },
]

/** `burn` times as fast as a budget that lasts: so much of it is gone when the long window is over. */
export const BURN_RATES = [
  { long: '1h', short: '5m', burn: 14.4, severity: 'critical' },
  { long: '6h', short: '30m', burn: 6, severity: 'critical' },
  { long: '1d', short: '2h', burn: 3, severity: 'warning' },
  { long: '3d', short: '6h', burn: 1, severity: 'warning' },
]

/** Of fewer failures than this in the long window nobody is told: where little is done, one is a large share. */
const LEAST_FAILURES = 5

/** The share that may fail. */
export const budgetOf = ({ objective }) => Number((1 - objective).toFixed(6))

/** The share that failed in a window, as it is recorded. */
export const ratioOf = ({ name }, window) => `tunnel:${name}_errors:ratio_rate${window}`

function recordings(slo) {
  const windows = [...new Set(BURN_RATES.flatMap(({ long, short }) => [short, long]))]
  return windows.map((window) => {
    const of = (outcomes) => `sum by (job) (rate(${slo.metric}{outcome=~"${outcomes}"}[${window}]))`
    const all = of(`ok|${slo.bad}`)
    return { record: ratioOf(slo, window), expr: `(${of(slo.bad)} or 0 * ${all}) / ${all}` }
  })
}

function alerts(slo) {
  const budget = budgetOf(slo)
  return BURN_RATES.map(({ long, short, burn, severity }) => {
    const above = (window) => `${ratioOf(slo, window)} > ${burn} * ${budget}`
    const asked = `sum by (job) (increase(${slo.metric}{outcome=~"ok|${slo.bad}"}[${long}]))`
    return {
      alert: slo.alert,
      expr: `${above(long)} and ${above(short)} and ${ratioOf(slo, long)} * ${asked} >= ${LEAST_FAILURES}`,
      labels: { severity, slo: slo.name, window: long },
      annotations: {
        summary: `{{ $value | humanizePercentage }} of the ${slo.asked} failed in ${long}; over 30 days ${budget * 100}% may`,
        runbook: `docs/OPERATIONS.md#${slo.alert.toLowerCase()}`,
      },
    }
  })
}

/** Prometheus' groups of rules. */
export function sloGroups() {
  return SLOS.flatMap((slo) => [
    { name: `tunnel-slo-${slo.name}-recorded`, rules: recordings(slo) },
    { name: `tunnel-slo-${slo.name}`, rules: alerts(slo) },
  ])
}
