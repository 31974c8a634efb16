import { type CommonOptions, command, parse } from '../command.ts'
import type { Definition } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { EVENTS_NOTE, Report } from '../forwarding/report.ts'
import { type Service, serveAll } from '../forwarding/serve.ts'
import { type Forward, parseForwards } from '../forwarding/specification.ts'
import { type Mode, Way } from '../forwarding/way.ts'

interface ForwardFlags extends CommonOptions {
  sealed?: boolean
  inspected?: boolean
}

export const definition: Definition = {
  name: 'forward',
  usage: '[options] [BIND:]PORT:MACHINE:HOST:PORT…',
  does: [
    'Listens at ports of this computer, and carries each connection to HOST:PORT as the machine sees it, as ssh',
    '-L does. PORT 0 is any free port; without BIND it listens at loopback, with * or nothing before the colon at',
    'every address. [BIND:]PORT may also be the path of a Unix socket. Runs until Ctrl-C, through outages of the',
    'network: open connections wait, and then go on.',
  ].join(' '),
  examples: [
    'tunnel forward 5432:home:127.0.0.1:5432',
    'tunnel forward 8080:home:localhost:80 127.0.0.1:0:office:[fd00::7]:443',
    'tunnel forward --sealed /tmp/db.sock:home:127.0.0.1:5432',
  ],
  notes: [
    `\
A connection is sealed where the agent allows the target (its sshd, and what its
--allow names): the agent makes it, and it survives a restart of the proxy.
Otherwise it is inspected: the proxy logs in to the machine with the key that it
has for you, and the machine's sshd makes it. The first connection decides, and
says which. A sealed forward never becomes an inspected one.`,
    `\
Either way the proxy passes on the bytes as your program sends them. What has no
encryption of its own could be read there; \`tunnel ssh -N -L PORT:HOST:PORT
MACHINE\` encrypts it from end to end.`,
    EVENTS_NOTE,
  ],
  arguments: [{ name: '<forward...>', does: 'what to forward; several at once' }],
  options: [
    { flags: '--sealed', does: 'only what the agent allows; else the connection is refused' },
    { flags: '--inspected', does: "always through the proxy and the machine's sshd" },
  ],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const flags = made.opts<ForwardFlags>()
  const mode = modeOf(flags)
  const forwards = parseForwards(made.args)
  const report = new Report('forward', flags)
  return serveAll(
    flags,
    forwards.map((forward) => serviceOf(forward, mode, report)),
    report,
  )
}

function modeOf({ sealed, inspected }: ForwardFlags): Mode | undefined {
  if (sealed === true && inspected === true)
    throw new UsageError('give --sealed or --inspected, not both of them')
  if (sealed === true) return 'sealed'
  return inspected === true ? 'inspected' : undefined
}

function serviceOf({ listen, machine, target }: Forward, mode: Mode | undefined, report: Report): Service {
  const way = new Way(mode, (decided) => report.decided(machine, target, decided))
  return { listen, machine, target, mode, serve: (_socket, carry) => carry({ target, way }) }
}
