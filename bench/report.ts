import type { Outcome } from './load.ts'

/** One run of one case. */
export interface Sample extends Outcome {
  /** CPU (user and system) that each party used meanwhile, in seconds. */
  cpuSeconds: Record<string, number>
}

export interface CaseReport {
  name: string
  kind: 'bulk' | 'small'
  /** The case that the ratio compares with; absent for the references themselves. */
  against?: string
  samples: Sample[]
  failures: number
  /** Medians over the rounds. Bulk: MiB a second and CPU seconds a GiB; small: requests a second and CPU µs a request. */
  rate: number
  cpu: number
  cpuByParty: Record<string, number>
  p50Ms: number
  p99Ms: number
  /** This rate by that of `against`. */
  ratio?: number
  cpuRatio?: number
}

export interface BenchReport {
  cases: CaseReport[]
  rounds: number
  /** The most memory that proxy and agent have had, in bytes. */
  peakResidentBytes: Record<string, number>
}

const MIB = 1_048_576
const GIB = 1_024 * MIB

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0)
}

export function summarise(
  name: string,
  kind: CaseReport['kind'],
  samples: Sample[],
  reference?: CaseReport,
): CaseReport {
  /** CPU of one sample, in the unit of its kind. */
  const perUnit = (sample: Sample, seconds: number) =>
    kind === 'bulk' ? (seconds * GIB) / sample.byteCount : (seconds * 1_000_000) / sample.requests
  const parties = [...new Set(samples.flatMap((sample) => Object.keys(sample.cpuSeconds)))]
  const report: CaseReport = {
    name,
    kind,
    samples,
    failures: sum(samples.map((sample) => sample.failures)),
    rate: median(
      samples.map((sample) => (kind === 'bulk' ? sample.byteCount / MIB : sample.requests) / sample.seconds),
    ),
    cpu: median(samples.map((sample) => perUnit(sample, sum(Object.values(sample.cpuSeconds))))),
    cpuByParty: Object.fromEntries(
      parties.map((party) => [
        party,
        median(samples.map((sample) => perUnit(sample, sample.cpuSeconds[party] ?? 0))),
      ]),
    ),
    p50Ms: median(samples.map((sample) => sample.p50Ms)),
    p99Ms: median(samples.map((sample) => sample.p99Ms)),
  }
  if (reference) {
    report.against = reference.name
    report.ratio = report.rate / reference.rate
    report.cpuRatio = report.cpu / reference.cpu
  }
  return report
}

/** The cases as a table for each kind. */
export function renderCases(cases: readonly CaseReport[]): string[] {
  const lines: string[] = []
  for (const kind of ['bulk', 'small'] as const) {
    if (!cases.some((each) => each.kind === kind)) continue
    const units = kind === 'bulk' ? ['MiB/s', 'CPU s/GiB'] : ['requests/s', 'CPU µs/request']
    lines.push(
      '',
      [
        'case'.padEnd(30),
        ...units.map((unit) => unit.padStart(15)),
        'ratio'.padStart(8),
        'CPU ratio'.padStart(10),
      ].join(''),
    )
    for (const each of cases.filter((one) => one.kind === kind)) {
      const numbers = [each.rate.toFixed(0), each.cpu.toFixed(kind === 'bulk' ? 2 : 0)].map((text) =>
        text.padStart(15),
      )
      const ratios = [
        (each.ratio?.toFixed(2) ?? '1').padStart(8),
        (each.cpuRatio?.toFixed(2) ?? '1').padStart(10),
      ]
      const parties = Object.entries(each.cpuByParty)
        .filter(([, cpu]) => cpu > 0)
        .map(([party, cpu]) => `${party} ${cpu.toFixed(kind === 'bulk' ? 2 : 0)}`)
      const latency =
        kind === 'small' ? `  p50 ${each.p50Ms.toFixed(1)} ms, p99 ${each.p99Ms.toFixed(1)} ms;` : ' '
      const failures = each.failures > 0 ? `  ${each.failures} FAILED` : ''
      lines.push(
        `${each.name.padEnd(30)}${[...numbers, ...ratios].join('')}${latency} CPU: ${parties.join(', ')}${failures}`,
      )
    }
  }
  return lines
}

/** The report as a table. */
export function render(report: BenchReport): string {
  const lines = renderCases(report.cases)
  const memory = Object.entries(report.peakResidentBytes).map(
    ([party, bytes]) => `${party} ${Math.round(bytes / MIB)} MiB`,
  )
  lines.push(
    '',
    `Medians of ${report.rounds} interleaved rounds. Ratios are against \`ssh -L\` (or plain ssh) in the same run.`,
  )
  lines.push(
    'CPU is user and system time of the parties named, their children included; the web service is left out.',
  )
  lines.push(`Most memory at once: ${memory.join(', ')}.`)
  return lines.join('\n')
}
