import { askAll } from '../api.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT } from '../failure.ts'
import { age, byteText, visible } from '../output.ts'
import { tell } from '../prose.ts'
import { table } from '../table.ts'
import { warn } from '../warning.ts'
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

/** The same of a link. */
interface Link {
  connectionId: string
  user: string
  role: string
  machine?: string
  transport: string
  since: string
  streams: number
  rttMs?: number
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
    'tunnel sessions --links',
    'tunnel sessions end 0f3a…',
    'tunnel sessions watch 0f3a…',
  ],
  options: [
    { flags: '--links', does: 'list the links of clients and agents instead of the streams' },
    { flags: '--watch', does: 'show them again whenever something has changed, until Ctrl-C' },
  ],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const options = made.opts<CommonOptions & { watch?: boolean; links?: boolean }>()
  const access = accessFrom(options)
  const isJson = options.json === true
  if (options.links === true) return await show<Link>('links', linkTable)
  return await show<Session>('sessions', sessionTable)

  async function show<T>(route: string, tableOf: (all: readonly T[]) => string): Promise<number> {
    let shownGap: string | undefined
    const isWatched = options.watch === true
    const look = async (): Promise<T[]> => {
      const { answer, gap } = await askAll<T[]>(access, route)
      const isTold = gap === undefined || gap === shownGap || (isWatched && !isJson)
      if (!isTold) warn('REPLICA_MISSING', gap)
      shownGap = gap
      return answer
    }
    // A line on stderr would be gone with the next drawing.
    const text = (all: readonly T[]) =>
      `${tableOf(all)}${shownGap === undefined ? '' : `${visible(shownGap)}\n`}`
    if (isWatched) return watch({ look, json: isJson, text })
    const all = await look()
    if (isJson) process.stdout.write(`${JSON.stringify(all, null, 2)}\n`)
    else tell(tableOf(all))
    return EXIT.ok
  }
}

function linkTable(links: readonly Link[]): string {
  if (links.length === 0) return 'no link is open\n'
  const rows = links.map(({ user, role, machine = '-', transport, since, streams, rttMs, connectionId }) => [
    ...[user, role, machine, transport, age(since), String(streams)],
    ...[rttMs === undefined ? '-' : `${rttMs.toFixed(1)} ms`, connectionId],
  ])
  return table([['USER', 'ROLE', 'MACHINE', 'TRANSPORT', 'SINCE', 'STREAMS', 'RTT', 'ID'], ...rows])
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
