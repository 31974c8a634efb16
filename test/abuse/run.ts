// `npm run abuse`: attacks on a proxy, each measured beside an honest user and by what it leaves behind.
import { parseArgs } from 'node:util'
import { startWeb } from '../../bench/measure.ts'
import { ATTACKS, FLOODS, Scene } from '../flood/flood.ts'
import { Cleanup } from '../support/scope.ts'
import { runSilent } from './silent.ts'
import { Door } from './strangers.ts'

const HELP = `Usage: npm run abuse -- [options]

Options:
  --upgrades <n>    refused upgrades (default: 10000)
  --handshakes <n>  slow handshakes at once (default: 1000)
  --attacks <names> of a user who is let in, or none: ${[...ATTACKS, ...FLOODS].join(',')}
                    (default: all)
  --links <n>       of that user's (default: 8)
  --seconds <n>     for each attack, and quiet before it (default: 8)
  --silent <n>      seconds in which a machine is gone without a word, and quiet before it; 0: not (default: 20)
`

const { values } = parseArgs({
  options: {
    upgrades: { type: 'string', default: '10000' },
    handshakes: { type: 'string', default: '1000' },
    attacks: { type: 'string', default: [...ATTACKS, ...FLOODS].join(',') },
    links: { type: 'string', default: '8' },
    seconds: { type: 'string', default: '8' },
    silent: { type: 'string', default: '20' },
    help: { type: 'boolean', short: 'h', default: false },
  },
})
if (values.help) {
  process.stdout.write(HELP)
  process.exit(0)
}

/** Further apart than a delayed acknowledgement: sshd, which forwards with Nagle's algorithm, holds no answer back for it. */
const SILENT_PER_SECOND = 20

const row = (...cells: string[]): void => {
  process.stdout.write(
    `${cells.map((cell, index) => (index === 0 ? cell.padEnd(24) : cell.padStart(12))).join('')}\n`,
  )
}

/** Strangers before the door, and what each leaves behind. */
async function strangers(scope: Cleanup): Promise<void> {
  const door = await Door.start(scope)
  // What is loaded at the first of each is no leak.
  await door.refusedUpgrades(1_000)
  const before = await door.held()
  const attacks: [name: string, attack: () => Promise<unknown>][] = [
    ['quiet', () => new Promise((resolve) => setTimeout(resolve, 3_000))],
    [`${values.upgrades} refused upgrades`, () => door.refusedUpgrades(Number(values.upgrades))],
    [
      `${values.handshakes} slow handshakes`,
      async () => {
        const giveUp = await door.slowHandshakes(Number(values.handshakes))
        await new Promise((resolve) => setTimeout(resolve, 3_000))
        giveUp()
      },
    ],
  ]
  row('attack', 'requests', 'p95 ms', 'descriptors', 'live KiB')
  for (const [name, attack] of attacks) {
    const { count, p95Ms } = await door.honestP95Ms(attack())
    await door.settled(before.descriptors)
    const { descriptors, liveBytes } = await door.held()
    const grown = (liveBytes - before.liveBytes) / 1_024
    row(name, String(count), p95Ms.toFixed(1), `+${descriptors - before.descriptors}`, grown.toFixed(0))
  }
}

/** A user who is let in, beside another one's keystrokes: each attack after a time of quiet. */
async function users(scope: Cleanup): Promise<void> {
  const scene = await Scene.start(scope)
  const ms = Number(values.seconds) * 1_000
  await scene.echoes(500)
  row('attack by a user', 'quiet p95', 'p95 ms', 'ratio', 'cores', 'MiB more')
  for (const kind of values.attacks.split(',').filter((name) => name !== 'none')) {
    const quiet = await scene.echoes(ms)
    const { p95Ms, grownBytes, cores } = await scene.attacked(kind, Number(values.links), ms)
    const ratio = (p95Ms / quiet.p95Ms).toFixed(1)
    const grown = (grownBytes / 1_048_576).toFixed(0)
    row(kind, quiet.p95Ms.toFixed(1), p95Ms.toFixed(1), ratio, cores.toFixed(2), grown)
  }
}

/** A machine that is gone without a word, with requests to others of the same user and of another one beside it. */
async function silentMachine(scope: Cleanup): Promise<void> {
  const port = await startWeb(scope)
  const report = await runSilent(scope, {
    port,
    perSecond: SILENT_PER_SECOND,
    seconds: Number(values.silent),
  })
  row('beside a silent machine', 'requests', 'errors', 'quiet p95', 'p95 ms', 'ratio')
  for (const who of ['same user', 'other user'] as const) {
    const [quiet, gone] = [report.quiet[who], report.gone[who]]
    const errors = [quiet, gone].flatMap((outcome) => Object.values(outcome.errors))
    const failed = errors.reduce((sum, count) => sum + count, 0)
    const ratio = (gone.p95Ms / quiet.p95Ms).toFixed(1)
    row(who, String(gone.requests), String(failed), quiet.p95Ms.toFixed(1), gone.p95Ms.toFixed(1), ratio)
    if (failed > 0) process.exitCode = 1
  }
  const { failures, failedBeforeOpen, openAfterMs, backAfterMs, transitions } = report
  const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`
  process.stdout.write(
    `its requests: ${JSON.stringify(failures)}; circuit open after ${seconds(openAfterMs)} and ${failedBeforeOpen} of them, ` +
      `answered again ${seconds(backAfterMs)} after its return; circuits: ${JSON.stringify(transitions)}\n`,
  )
}

const scope = new Cleanup()
try {
  if (values.upgrades !== '0') await strangers(scope)
  if (values.attacks !== 'none') await users(scope)
  if (values.silent !== '0') await silentMachine(scope)
} finally {
  await scope.close()
}
