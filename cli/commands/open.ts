import { machineOfHostName } from '../../protocol/codec/machine-host.ts'
import { ask } from '../api.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { checkMachineOf } from '../machine-name.ts'

export const definition: Definition = {
  name: 'open',
  does: [
    'Prints an address under which a browser finds a service of a machine. It is good once, within 30 s; the browser',
    'then keeps a cookie for this service alone. The proxy needs the setting gateway.host.',
  ].join(' '),
  usage: '[options] MACHINE:PORT[/path]',
  examples: [
    'tunnel open home:11434',
    'tunnel open alice/home:8080',
    'xdg-open "$(tunnel open home:8080/admin)"',
  ],
  arguments: [
    {
      name: '<service>',
      does: 'MACHINE:PORT[/path], or OWNER/MACHINE:PORT[/path]; the port is one of the machine itself',
    },
  ],
  options: [],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const options = made.opts<CommonOptions>()
  const { machine, port, path } = serviceOf(made.args[0] ?? '')
  const access = accessFrom(options)
  const { origin } = await ask<{ origin: string }>(
    access,
    `machines/${encodeURIComponent(machine)}/origin/${port}`,
  )
  const { ticket } = await ask<{ ticket: string }>(access, 'auth/ticket', 'POST')
  const url = new URL(path, origin)
  url.searchParams.append('ticket', ticket)
  process.stdout.write(options.json === true ? `${JSON.stringify({ url: url.href })}\n` : `${url.href}\n`)
  return EXIT.ok
}

/** As it stands in a URL, or `owner/name`. @throws {UsageError} */
function machineIn(text: string): string {
  const machine = machineOfHostName(text)
  checkMachineOf(machine)
  return machine
}

/** @throws {UsageError} */
function serviceOf(text: string): { machine: string; port: string; path: string } {
  const [, machine, port, path = '/'] = /^(?:http:\/\/)?([^:]+):(\d{1,5})(\/.*)?$/.exec(text) ?? []
  if (machine !== undefined && port !== undefined) return { machine: machineIn(machine), port, path }
  throw new UsageError(`the service must look like MACHINE:PORT/path, not "${text}"`)
}
