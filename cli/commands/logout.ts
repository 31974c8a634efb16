import { type CommonOptions, command, parse } from '../command.ts'
import { clientFilePath, readClientFile, refused, unknownContext } from '../contexts/client-file.ts'
import { accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT, LocalError, UsageError } from '../failure.ts'
import type { Ending } from '../login/ending.ts'
import { tell } from '../prose.ts'
import { untilStopped } from '../stop.ts'
import { tellStopped } from '../stopped.ts'

export const definition: Definition = {
  name: 'logout',
  does: [
    'Ends a login: its token with its links and streams at the proxy, its refresh token at the issuer, and what',
    'is kept of it here. It says what it could not reach; on this computer the login ends in any case.',
  ].join(' '),
  examples: ['tunnel logout', 'tunnel logout work'],
  reaches: false,
  arguments: [{ name: '[name]', does: 'of the context; by default the one in use', values: 'context' }],
  options: [],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const path = clientFilePath()
  const configured = readClientFile(path)
  const name = made.args[0] ?? configured.current
  if (path === undefined || name === undefined)
    throw new UsageError('there is no login to end: no context is in use')
  const context = configured.contexts.get(name)
  if (context === undefined) throw refused(unknownContext(name, configured))
  const file = context.loginFile
  if (file === undefined) throw new UsageError(`the context "${name}" has no login`)
  const { Ending } = await import('../login/ending.ts')
  const access = accessFrom({ url: context.urls, context: name })
  const stop = new AbortController()
  const ending = new Ending({ path, name, access, file }, stop.signal)
  const json = made.opts<CommonOptions>().json === true
  const status = await untilStopped(end(ending, name, stop.signal, json), stop, () => ending.graceMs)
  if (stop.signal.aborted) tellStopped('tunnel logout', { status, left: ending.left, json })
  return status
}

async function end(ending: Ending, name: string, stop: AbortSignal, json: boolean): Promise<number> {
  await ending.run()
  const { notReached } = ending
  if (stop.aborted) return EXIT.ok
  const told = { context: name, ended: notReached.length === 0, notReached }
  if (json) process.stdout.write(`${JSON.stringify(told)}\n`)
  else tell(`${name} is logged out\n`)
  if (notReached.length === 0) return EXIT.ok
  throw new LocalError('LOGOUT_INCOMPLETE', ending.incomplete, '')
}
