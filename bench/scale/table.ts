import { CONSTANTS } from './constants.ts'
import { type Fleet, type Forecast, forecast } from './model.ts'

const FLEETS: readonly Fleet[] = [
  { agents: 1_000, users: 200, replicas: 2 },
  { agents: 10_000, users: 2_000, replicas: 3 },
  { agents: 100_000, users: 20_000, replicas: 10 },
  { agents: 1_000_000, users: 1_000_000, replicas: 10 },
  { agents: 1_000_000, users: 1_000_000, replicas: 64 },
]

const MIB = 1_048_576
const whole = (value: number) => Math.round(value).toLocaleString('en')
const mib = (bytes: number) => (bytes < 10 * MIB ? (bytes / MIB).toFixed(1) : whole(bytes / MIB))

type Column = readonly [title: string, cell: (row: Forecast) => string]

const FLEET: readonly Column[] = [
  ['agents', ({ agents }) => whole(agents)],
  ['users', ({ users }) => whole(users)],
  ['replicas', ({ replicas }) => whole(replicas)],
]
const DAY: readonly Column[] = [
  ['links each', ({ linksPerReplica }) => whole(linksPerReplica)],
  ['memory each, MiB', ({ memoryBytes }) => mib(memoryBytes)],
  ['told at a start, MiB', ({ snapshotBytes }) => mib(snapshotBytes)],
  ['cores each, for opens', ({ openCores }) => openCores.toFixed(2)],
  ['Redis commands/s', ({ redisCommands }) => whole(redisCommands)],
  ['one dies: all back, s', ({ oneLost }) => whole(oneLost.allSeconds)],
]
const STORM: readonly Column[] = [
  ['half back, s', ({ storm }) => whole(storm.halfSeconds)],
  ['all back, s', ({ storm }) => whole(storm.allSeconds)],
  ['dials in vain', ({ storm }) => `${whole(storm.inVain * 100)} %`],
  ['links/s, replicas', ({ storm }) => whole(storm.replicaLinks)],
  ['links/s, Redis', ({ storm }) => whole(storm.redisLinks)],
  ['Redis commands/s', ({ storm }) => whole(storm.redisCommands)],
  ['presence, of CPU', ({ storm }) => `${whole(storm.presenceShare * 100)} %`],
  ['mesh, MiB', ({ storm }) => mib(storm.meshBytes)],
]

/** The tables of docs/SCALE.md: from day to day, and when all links are cut at once. */
export function scaleTables(): string[] {
  const forecasts = FLEETS.map((fleet) => forecast(fleet, CONSTANTS))
  return [DAY, STORM].map((more) => table([...FLEET, ...more], forecasts))
}

function table(columns: readonly Column[], forecasts: readonly Forecast[]): string {
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [
    row(columns.map(([title]) => title)),
    row(columns.map(() => '---:')),
    ...forecasts.map((each) => row(columns.map(([, cell]) => cell(each)))),
  ].join('\n')
}
