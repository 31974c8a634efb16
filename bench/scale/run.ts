// `npm run scale`: the tables of docs/SCALE.md, and what its constants are on this computer.
import { parseArgs } from 'node:util'
import { requireSystem } from '../../test/support/system.ts'
import { scaleTables } from './table.ts'

const HELP = `Usage: npm run scale -- [options]

Options:
  --measure <agents>  measures what a link, an agent and a stream cost, with so many agents that lose two links each
`

const { values } = parseArgs({
  options: { measure: { type: 'string' }, help: { type: 'boolean', short: 'h', default: false } },
})
if (values.help) process.stdout.write(HELP)
else if (values.measure === undefined) console.log(scaleTables().join('\n\n'))
else {
  const missing = requireSystem('redis-server')
  if (missing !== undefined) throw new Error(`${missing}; run node scripts/install-test-packages.mjs`)
  // Loads a client and an agent, which the tables do not need.
  const { measureScale } = await import('./measure.ts')
  console.log(await measureScale(Number(values.measure), (text) => process.stderr.write(`${text}\n`)))
}
