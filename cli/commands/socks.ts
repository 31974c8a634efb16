import { type CommonOptions, command, parse } from '../command.ts'
import type { Definition } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { isPrivate, parseLocalAddress } from '../forwarding/local-address.ts'
import { EVENTS_NOTE, Report } from '../forwarding/report.ts'
import { type Service, serveAll } from '../forwarding/serve.ts'
import { serveSocks } from '../forwarding/socks.ts'
import { Way } from '../forwarding/way.ts'
import { machineOfHost } from '../host-alias.ts'
import { checkMachineOf } from '../machine-name.ts'

interface SocksFlags extends CommonOptions {
  listen: string
  sealed?: boolean
}

export const definition: Definition = {
  name: 'socks',
  usage: '[options] MACHINE',
  does: [
    'A SOCKS proxy on this computer whose connections lead out at a machine: what the machine reaches, your',
    'browser reaches. Runs until Ctrl-C, through outages of the network: open connections wait, and then go on.',
  ].join(' '),
  examples: [
    'tunnel socks home',
    'curl --proxy socks5h://127.0.0.1:1080 http://printer.lan/',
    'chromium --proxy-server=socks5://127.0.0.1:1080',
  ],
  notes: [
    `\
Connections are inspected: the proxy logs in to the machine with the key that it
has for you, and the machine's sshd makes them. With --sealed the agent makes
them, and refuses what its --allow does not name. Either way the proxy passes on
the bytes as your program sends them. What has no encryption of its own could be
read there; \`tunnel ssh -N -D PORT MACHINE\` encrypts it from end to end.`,
    `\
SOCKS 5 and 4a, the command CONNECT, no password. Names are resolved on the
machine's side where your program sends them: Chromium does, curl does with
socks5h://, and Firefox with "Proxy DNS".`,
    EVENTS_NOTE,
  ],
  arguments: [{ name: '<machine>', does: 'where the connections lead out', values: 'machine' }],
  options: [
    {
      flags: '--listen <[bind:]port>',
      does: 'where to listen; port 0 is any free one',
      default: '127.0.0.1:1080',
    },
    { flags: '--sealed', does: 'only what the agent allows, relayed by the proxy' },
  ],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const flags = made.opts<SocksFlags>()
  const machine = machineOfHost(made.args[0] ?? '')
  checkMachineOf(machine)
  const listen = parseLocalAddress(flags.listen)
  if (listen === undefined)
    throw new UsageError(`--listen takes [BIND:]PORT or the path of a socket, not "${flags.listen}"`)
  const report = new Report('socks', flags)
  if (!isPrivate(listen)) {
    const text = `whoever reaches ${flags.listen} gets out at ${machine} as you: SOCKS asks for no password here`
    report.warn('LISTEN_PUBLIC', text)
  }
  const mode = flags.sealed === true ? 'sealed' : 'inspected'
  const way = new Way(mode)
  const service: Service = { listen, machine, mode, serve: (socket, carry) => serveSocks(socket, way, carry) }
  return serveAll(flags, [service], report)
}
