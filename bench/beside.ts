import type { ChildProcess } from 'node:child_process'
import type { Job } from './load.ts'
import { measure, smaller } from './measure.ts'
import { type CaseReport, type Sample, summarise } from './report.ts'

/** One of several proxies that do the same work in the same run. */
export interface Side {
  name: string
  load: ChildProcess
  /** Whose CPU is told, by process id. */
  parties: Record<string, number>
  jobs: Partial<Record<CaseReport['kind'], Job>>
}

export interface BesideOptions {
  rounds: number
  /** Told of each finished run. */
  progress?: ((text: string) => void) | undefined
}

/** The jobs of all sides, interleaved; each kind is compared with that of the first side. */
export async function measureBeside(
  sides: readonly Side[],
  { rounds, progress }: BesideOptions,
): Promise<CaseReport[]> {
  const cases = (['bulk', 'small'] as const).flatMap((kind) =>
    sides.flatMap(({ name, load, parties, jobs: { [kind]: job } }) =>
      job === undefined
        ? []
        : [{ kind, name: `${name}, ${kind}`, load, parties, job, samples: [] as Sample[] }],
    ),
  )
  // The round before the first warms every path up and is not counted.
  for (let round = 0; round <= rounds; round++) {
    for (let index = 0; index < cases.length; index++) {
      const { name, load, parties, job, samples } = cases[(index + round) % cases.length]!
      const sample = await measure(load, round === 0 ? smaller(job) : job, parties)
      if (round > 0) samples.push(sample)
      progress?.(`round ${round}/${rounds} ${name}: ${sample.seconds.toFixed(2)} s`)
    }
  }
  const reports: CaseReport[] = []
  for (const { name, kind, samples } of cases) {
    const reference = reports.find((report) => report.kind === kind)
    reports.push(summarise(name, kind, samples, reference))
  }
  return reports
}
