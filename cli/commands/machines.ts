import { fetchJson } from '../api.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { accessFrom } from '../credentials.ts'
import { EXIT } from '../failure.ts'
import { age, table } from '../output.ts'

export interface MachineRow {
  name: string
  online: boolean
  source: string
  sshUser: string
  since?: string
  agentVersion?: string
  hostKeys: { type: string; fingerprint: string }[]
  hostKeyChanged: boolean
}

export function machineTable(machines: MachineRow[]): string {
  if (machines.length === 0) return 'no machine yet: run `tunnel agent --machine NAME` on one\n'
  const rows = machines.map((machine) => [
    machine.name,
    machine.hostKeyChanged ? 'HOST KEY CHANGED' : machine.online ? 'on line' : 'off line',
    machine.since === undefined ? '-' : age(machine.since),
    machine.sshUser,
    machine.source,
    machine.hostKeys[0]?.fingerprint ?? '-',
  ])
  return table([['MACHINE', 'STATE', 'SINCE', 'USER', 'SOURCE', 'HOST KEY'], ...rows])
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(
    command({
      usage: 'machines',
      does: 'Lists your machines: on line or not, since when, and the fingerprint of the host key.',
      examples: ['tunnel machines', 'tunnel machines --json'],
    }),
    argv,
  )
  if (made === undefined) return EXIT.ok
  const options = made.opts<CommonOptions>()
  const machines = await fetchJson<MachineRow[]>(accessFrom(options), 'machines')
  process.stdout.write(
    options.json === true ? `${JSON.stringify(machines, null, 2)}\n` : machineTable(machines),
  )
  return EXIT.ok
}
