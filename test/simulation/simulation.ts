import { checkSaid } from './check.ts'
import { SETTINGS } from './parties.ts'
import { World } from './world.ts'

export interface Outcome {
  seed: number
  streams: number
  bytes: number
  faults: Record<string, number>
  /** Ends of streams in an error, by code. */
  errors: Record<string, number>
  /** What must never be: empty when the schedule held. */
  violations: string[]
}

/** Errors that a schedule can bring about between correct parties. */
const EXPLAINED: ReadonlySet<string> = new Set([
  'MACHINE_OFFLINE',
  'UNKNOWN_STREAM',
  'RESUME_EXPIRED',
  'SHUTTING_DOWN',
  'AGENT_LOST',
  'ABORTED',
])

/** A sealed stream has its state at its two ends alone: no death of a proxy is an excuse. */
const EXPLAINED_SEALED: ReadonlySet<string> = new Set(['MACHINE_OFFLINE', 'RESUME_EXPIRED', 'AGENT_LOST'])

const { resumeMs } = SETTINGS.streams

/**
 * One schedule from its seed, to its end.
 * @param isCluster the proxies are three replicas with links to each other. @default two proxies that know nothing of each other
 */
export async function simulate(seed: number, isCluster = false): Promise<Outcome> {
  const world = new World(seed, isCluster)
  const { clock, random } = world
  for (const url of world.urls) await world.startProxy(url)
  world.connect()
  await clock.run(1_000)
  const count = 1 + Math.floor(random() * 5)
  for (let index = 0; index < count; index++)
    clock.setTimer(() => world.open(index), Math.floor(random() * 3_000))
  const faults = Math.floor(random() * 25)
  const spanMs = 500 + random() * 10_000
  for (let index = 0; index < faults; index++)
    clock.setTimer(() => world.fault(), Math.floor(random() * spanMs))

  await clock.run(14_000)
  const openers = (): number => world.client.opener.size
  await clock.run(120_000, () => openers() === 0 && world.talkers.every((talker) => talker.closed))
  // Long enough for every resume window, so that what was left behind would show.
  await clock.run(clock.now() + resumeMs + 15_000)

  const errors: Record<string, number> = {}
  let bytes = 0
  for (const { plan, closed, error } of world.talkers) {
    if (!closed) world.violation('a stream never ended')
    if (error !== undefined) {
      errors[error.code] = (errors[error.code] ?? 0) + 1
      const explained = plan.kind === 'ssh' ? EXPLAINED_SEALED : EXPLAINED
      const isGivenUp = plan.isGivenUp && error.code === 'ABORTED'
      if (!explained.has(error.code) && !isGivenUp)
        world.violation(`${plan.kind} ${error.code}: ${error.message}`)
    }
  }
  for (const { plan, error } of world.talkers) {
    if (error === undefined) bytes += (plan.up.byteCount + plan.down.byteCount) / 2
  }
  checkStreams(world)
  checkSaid(world)
  await checkLeftovers(world)
  return { seed, streams: count, bytes, faults: world.faults, errors, violations: world.violations }
}

function expectNothing(world: World, left: Record<string, number>): void {
  for (const [what, count] of Object.entries(left)) if (count !== 0) world.violation(`${what} left: ${count}`)
}

/** While the links still stand. */
function checkStreams(world: World): void {
  const { client, machine } = world
  expectNothing(world, {
    'streams of the client': client.opener.size,
    'streams of the machine': machine.acceptor.size,
    'bytes of the machine': machine.budget.usedBytes,
    'places on the client link': client.connection.link?.streamCount ?? 0,
  })
  for (const { link } of machine.connections) {
    expectNothing(world, { 'places on a link of the agent': link?.streamCount ?? 0 })
  }
  const living = world.proxies.filter(({ killed, draining }) => !killed && !draining)
  for (const { streams, channels, killed, replica } of world.proxies) {
    if (killed) continue
    for (const { link } of replica?.mesh.peers ?? [])
      expectNothing(world, { 'places on a link between replicas': link.streamCount })
    const { passages, relayed, bytes } = streams.overview.held()
    expectNothing(world, { passages, relayed, bytes, channels: channels.leased })
    for (const [kind, state, count] of streams.overview.counts())
      expectNothing(world, { [`${state} ${kind}`]: count })
  }
  for (const { id, replica } of living) {
    const missing = replica === undefined ? 0 : living.length - replica.mesh.size
    expectNothing(world, { [`replicas to which ${id} has no link`]: missing })
  }
}

/** When client and agent have left, and every resume window is over. */
async function checkLeftovers(world: World): Promise<void> {
  const { clock } = world
  await world.end()
  await clock.run(clock.now() + 2 * resumeMs + 10_000)
  expectNothing(world, {
    'timers of the client': world.clientClock.pending,
    'timers of the machine': world.machine.clock.pending,
  })
  for (const proxy of world.proxies) {
    expectNothing(world, { 'timers of a proxy': proxy.clock.pending })
    if (!proxy.killed) expectNothing(world, { sessions: proxy.streams.overview.held().sessions })
  }
  expectNothing(world, { timers: clock.pending })
}
