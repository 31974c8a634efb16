import type { Topology } from '../support/topology.ts'
import type { FaultRelay } from './fault-relay.ts'
import type { NetworkNamespace } from './netns.ts'
import { pause, randomGaps, repeat } from './schedule.ts'

export interface FaultContext {
  topology: Topology
  clientRelay: FaultRelay
  agentRelay: FaultRelay
  /** Where the client runs, for faults that need one. */
  namespace: NetworkNamespace | undefined
  seed: number
  /** How many faults must hit before it is enough. */
  wanted: number
  /** A few seconds in all, for `npm test`. */
  short: boolean
  /** Ends the schedule. */
  signal: AbortSignal
  /** Whether a stream is open to the machine. Before that a cut is a failed dial, which ends the program as it should. */
  ready(): boolean
  /** One more fault has hit. */
  hit(): void
}

export interface Fault {
  name: string
  does: string
  inNamespace: boolean
  /** It needs a second proxy. */
  twoProxies?: boolean
  /** Faults of a full run, and of a short one. */
  wanted: { full: number; short: number }
  /** From one fault to the next, on average, in ms. Transfers are throttled to last for all of them. */
  meanMs: number
  run(context: FaultContext): Promise<void>
}

const FREEZE_MS = 20_000
const SHORT_FREEZE_MS = 1_000

/** As often as was wanted, and no more: each of these takes long to recover from. */
function repeatWanted(meanMs: number, context: FaultContext, act: () => Promise<void>): Promise<void> {
  let left = context.wanted
  return repeat(randomGaps(context.seed, meanMs), context.signal, async () => {
    if (left === 0 || !context.ready()) return
    left--
    await act()
    context.hit()
  })
}

const none: Fault = {
  name: 'none',
  does: 'nothing goes wrong',
  inNamespace: false,
  wanted: { full: 1, short: 1 },
  meanMs: 500,
  run(context) {
    return repeatWanted(this.meanMs, context, async () => {})
  },
}

const cuts: Fault = {
  name: 'cuts',
  does: "the client's link is cut at random moments, mean 300 ms",
  inNamespace: false,
  wanted: { full: 100, short: 6 },
  meanMs: 300,
  run({ clientRelay, seed, signal, ready, hit }) {
    return repeat(randomGaps(seed, this.meanMs), signal, () => {
      if (!ready()) return
      // Half of them as a reset, half as an end of the connection: both happen.
      const ended = clientRelay.counters.cut % 2 === 0 ? clientRelay.cut() : clientRelay.reset()
      if (ended > 0) hit()
    })
  },
}

const freeze: Fault = {
  name: 'freeze',
  does: "the client's network says nothing for a while (20 s in a full run), and closes nothing",
  inNamespace: false,
  wanted: { full: 1, short: 1 },
  meanMs: 2_000,
  async run(context) {
    await repeatWanted(this.meanMs, context, async () => {
      context.clientRelay.freeze()
      await pause(context.short ? SHORT_FREEZE_MS : FREEZE_MS, context.signal)
      context.clientRelay.thaw()
    })
  },
}

const address: Fault = {
  name: 'address',
  does: "the client's address changes, and its old connections die in silence",
  inNamespace: true,
  wanted: { full: 3, short: 1 },
  meanMs: 2_000,
  run(context) {
    return repeatWanted(this.meanMs, context, async () => {
      await context.namespace?.changeAddress()
    })
  },
}

const killed: Fault = {
  name: 'proxy-killed',
  does: 'the proxy gets SIGKILL and is started again',
  inNamespace: false,
  wanted: { full: 3, short: 1 },
  meanMs: 2_000,
  run(context) {
    return repeatWanted(this.meanMs, context, () => context.topology.restartProxy())
  },
}

const both: Fault = {
  name: 'both-links',
  does: "the agent's link is cut at the same time as the client's, mean 600 ms",
  inNamespace: false,
  wanted: { full: 30, short: 3 },
  meanMs: 600,
  run({ clientRelay, agentRelay, seed, signal, ready, hit }) {
    return repeat(randomGaps(seed, this.meanMs), signal, () => {
      if (!ready() || clientRelay.size === 0 || agentRelay.size === 0) return
      clientRelay.cut()
      agentRelay.cut()
      hit()
    })
  },
}

const deploy: Fault = {
  name: 'deploy',
  does: 'two proxies are drained and replaced, one after the other',
  inNamespace: false,
  twoProxies: true,
  wanted: { full: 3, short: 1 },
  meanMs: 2_000,
  run(context) {
    return repeatWanted(this.meanMs, context, () => context.topology.rollProxies())
  },
}

/** The faults of the matrix, in the order of its columns. */
export const FAULTS: readonly Fault[] = [none, cuts, freeze, address, killed, both, deploy]
