import { ask } from '../api.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT } from '../failure.ts'
import { age, byteText } from '../output.ts'
import { tell } from '../prose.ts'
import { table } from '../table.ts'
import { watch } from '../watch.ts'

/** What the proxy's route tells of a stream, as far as it is shown. */
interface Session {
  id: string
  user: string
  machine: string
  kind: string
  mode: string
  target?: string
  state: string
  since: string
  bytesIn: number
  bytesOut: number
  watchers: number
}

export const definition: Definition = {
  name: 'sessions',
  does: [
    'Lists the open streams with user, machine, kind, start, and the bytes each way: your own, or those of all users with a',
    'token of the role admin.',
  ].join(' '),
  examples: [
    'tunnel sessions',
    'tunnel sessions --watch',
    'tunnel sessions end 0f3a…',
    'tunnel sessions watch 0f3a…',
  ],
  options: [{ flags: '--watch', does: 'show them again whenever something has changed, until Ctrl-C' }],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const options = made.opts<CommonOptions & { watch?: boolean }>()
  const access = accessFrom(options)
  const look = () => ask<Session[]>(access, 'sessions')
  if (options.watch === true) return watch({ look, json: options.json === true, text: sessionTable })
  const sessions = await look()
  if (options.json === true) process.stdout.write(`${JSON.stringify(sessions, null, 2)}\n`)
  else tell(sessionTable(sessions))
  return EXIT.ok
}

function sessionTable(sessions: readonly Session[]): string {
  if (sessions.length === 0) return 'no stream is open\n'
  const rows = sessions.map((session) => [
    ...[session.user, session.machine, session.kind, session.mode, session.state, age(session.since)],
    ...[
      byteText(session.bytesIn),
      byteText(session.bytesOut),
      String(session.watchers),
      session.target ?? '-',
      session.id,
    ],
  ])
  const heads = [
    'USER',
    'MACHINE',
    'KIND',
    'MODE',
    'STATE',
    'SINCE',
    'THERE',
    'BACK',
    'WATCHED',
    'TARGET',
    'ID',
  ]
  return table([heads, ...rows])
}
