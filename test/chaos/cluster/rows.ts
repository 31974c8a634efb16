import { percentile } from '../../support/percentile.ts'
import { seededRandom } from '../../support/random.ts'
import type { Scope } from '../../support/scope.ts'
import type { Balancer } from './balancer.ts'
import { type Bound, type ClusterFault, QUIET } from './faults.ts'
import { Fleet } from './fleet.ts'
import { type Harvest, Load, type LoadOptions } from './load.ts'

/** One row of the table. */
export interface ClusterRow {
  fault: string
  times: number
  /** ssh, scp and rsync that ran. */
  sessions: number
  broken: number
  /** The longest echo of each ssh for each time, in ms. */
  gapMs: { p50: number; p95: number; p99: number; max: number }
  /** Copies that were compared and are equal. */
  equal: number
  opens: number
  failedOpens: number
  slowestOpenMs: number
  seconds: number
  /** What broke, each in a line; at most `MAX_FAULTS`. */
  faults: string[]
  /** Which bounds of the promise were passed: by more than it took while nothing happened. */
  beyond: string[]
}

export interface RowsOptions extends LoadOptions {
  faults: readonly ClusterFault[]
  /** Of each fault, instead of its own number. */
  times?: number | undefined
  short: boolean
  random: number
  balancer: Balancer
  /** More `--set a.b=v` for every replica. */
  set?: readonly string[]
  /** A folder for what each replica has written. */
  logs?: string | undefined
  /** Told of what begins and what is done. */
  progress?: (text: string) => void
}

const REPLICAS = 3
const MAX_FAULTS = 20

/** Three replicas under load, and one fault after the other; gives each row when it is complete. */
export async function* clusterRows(scope: Scope, options: RowsOptions): AsyncGenerator<ClusterRow> {
  const { balancer, signal, short, progress = () => {} } = options
  progress('three replicas start')
  const fleet = await Fleet.start(scope, REPLICAS, { balancer, set: options.set, logs: options.logs })
  progress(`${options.ssh} ssh, ${options.scp} scp and ${options.rsync} rsync start`)
  const load = await Load.start(scope, fleet, balancer.url, options)
  const random = seededRandom(options.random)
  const sessions = options.ssh + options.scp + options.rsync
  let quiet: Measured | undefined
  for (const fault of options.faults) {
    const times = options.times ?? fault.times[short ? 'short' : 'full']
    if (times === 0) continue
    const beganMs = performance.now()
    const harvests: Harvest[] = []
    const settled = async () => {
      await load.settle()
      harvests.push(load.harvest())
    }
    for (let time = 1; time <= times && !signal.aborted; time++) {
      progress(`${fault.name} ${time}/${times}`)
      await fault.act({ fleet, balancer, random, short, signal, settled })
      harvests.push({ ...load.harvest(), gapsMs: [] })
    }
    if (signal.aborted) return
    const row = rowOf(fault, times, sessions, harvests, performance.now() - beganMs, quiet)
    if (fault === QUIET) quiet = row
    yield row
  }
  const beganMs = performance.now()
  progress('every session comes to its end')
  const last = await load.end()
  yield rowOf({ name: 'the end', bound: {} }, 1, sessions, [last], performance.now() - beganMs)
}

type Measured = Pick<ClusterRow, 'gapMs' | 'slowestOpenMs'>

/**
 * Which bounds were passed. What the computer itself takes is no fault's: a hundred ssh on two cores wait for each other
 * also while nothing happens, so each bound is over what the quiet row of the same run took.
 */
export function beyond(bound: Bound, found: Measured, quiet: Measured | undefined): string[] {
  const figures = ({ gapMs, slowestOpenMs }: Measured) => ({ ...gapMs, open: slowestOpenMs })
  const [foundMs, quietMs] = [figures(found), quiet === undefined ? undefined : figures(quiet)]
  return Object.entries(bound).flatMap(([name, limitMs]) => {
    const which = name as keyof Bound
    const ownMs = quietMs?.[which] ?? 0
    if (foundMs[which] <= limitMs + ownMs) return []
    const beside = quietMs === undefined ? '' : ` above the ${Math.round(ownMs)} of the quiet row`
    return [`${which} ${Math.round(foundMs[which])} ms, promised ${limitMs}${beside}`]
  })
}

function rowOf(
  { name, bound }: Pick<ClusterFault, 'name' | 'bound'>,
  times: number,
  sessions: number,
  harvests: readonly Harvest[],
  tookMs: number,
  quiet?: Measured,
): ClusterRow {
  const gapsMs = harvests.flatMap((each) => each.gapsMs)
  const broken = harvests.flatMap((each) => each.broken)
  const failed = harvests.flatMap((each) => each.failedOpens)
  const measured: Measured = {
    gapMs: {
      p50: percentile(gapsMs, 0.5),
      p95: percentile(gapsMs, 0.95),
      p99: percentile(gapsMs, 0.99),
      max: percentile(gapsMs, 1),
    },
    slowestOpenMs: Math.max(0, ...harvests.map((each) => each.slowestOpenMs)),
  }
  return {
    fault: name,
    times,
    sessions,
    broken: broken.length,
    ...measured,
    equal: harvests.reduce((sum, each) => sum + each.equal, 0),
    opens: harvests.reduce((sum, each) => sum + each.opens, 0),
    failedOpens: failed.length,
    seconds: Math.round(tookMs / 100) / 10,
    faults: [...broken, ...failed].slice(0, MAX_FAULTS),
    beyond: beyond(bound, measured, quiet),
  }
}
