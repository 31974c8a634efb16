// `npm run abuse`: attacks on a proxy, each measured beside an honest user and by what it leaves behind.
import { parseArgs } from 'node:util'
import { Cleanup } from '../support/scope.ts'
import { Door } from './strangers.ts'

const HELP = `Usage: npm run abuse -- [options]

Options:
  --upgrades <n>    refused upgrades (default: 10000)
  --handshakes <n>  slow handshakes at once (default: 1000)
`

const { values } = parseArgs({
  options: {
    upgrades: { type: 'string', default: '10000' },
    handshakes: { type: 'string', default: '1000' },
    help: { type: 'boolean', short: 'h', default: false },
  },
})
if (values.help) {
  process.stdout.write(HELP)
  process.exit(0)
}

const scope = new Cleanup()
try {
  const door = await Door.start(scope)
  const row = (...cells: string[]): void => {
    process.stdout.write(
      `${cells.map((cell, index) => (index === 0 ? cell.padEnd(24) : cell.padStart(12))).join('')}\n`,
    )
  }
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
} finally {
  await scope.close()
}
