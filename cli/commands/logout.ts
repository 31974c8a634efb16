import { revokeOwnToken } from '../api.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import {
  changeClientFile,
  clientFilePath,
  readClientFile,
  refused,
  unknownContext,
} from '../contexts/client-file.ts'
import { accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT, LocalError, UsageError } from '../failure.ts'
import { tell } from '../prose.ts'

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
  const [{ endAtIssuer }, { dropLogin, readLogin }] = await Promise.all([
    import('../login/end-login.ts'),
    import('../login/kept-login.ts'),
  ])
  const login = readLogin(file)
  const access = accessFrom({ url: context.urls, context: name })
  // Here first: what fails after it leaves no token behind.
  dropLogin(file)
  await changeClientFile(path, ({ contexts }) => {
    const { loginFile: _, ...kept } = contexts.get(name) ?? context
    contexts.set(name, kept)
  })
  const failed: string[] = []
  const attempt = (where: string, work: Promise<unknown>) => work.catch(() => void failed.push(where))
  await attempt('the proxy', revokeOwnToken({ ...access, token: login.accessToken }))
  await attempt(login.issuer, endAtIssuer(login))
  const options = made.opts<CommonOptions>()
  const told = { context: name, ended: failed.length === 0, notReached: failed }
  if (options.json === true) process.stdout.write(`${JSON.stringify(told)}\n`)
  else tell(`${name} is logged out\n`)
  if (failed.length === 0) return EXIT.ok
  const until = new Date(login.expiresAtMs).toISOString()
  const text = `${failed.join(' and ')} did not hear of it; the token holds there until ${until}`
  throw new LocalError('LOGOUT_INCOMPLETE', text, '')
}
