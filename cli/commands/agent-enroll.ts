import { accessSync, constants } from 'node:fs'
import { dirname } from 'node:path'
import { makeFolder } from '../../protocol/node/folders.ts'
import { exchangeCode } from '../api.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { changeClientFile, clientFilePath, readClientFile, refused } from '../contexts/client-file.ts'
import { keepToken } from '../contexts/keep-token.ts'
import { accessFrom } from '../credentials.ts'
import { ACCESS_OPTIONS, type Definition } from '../definition.ts'
import { EXIT } from '../failure.ts'
import { visible } from '../output.ts'
import { tell } from '../prose.ts'
import { reachOf } from '../reach.ts'
import { unwritable } from '../replace-file.ts'
import { unstopped } from '../stop.ts'

export const definition: Definition = {
  name: 'agent enroll',
  does: [
    'Exchanges a code of `tunnel machines --enroll NAME` for the token of this machine, and keeps it in a file of yours',
    'alone, so that `tunnel agent` needs neither an address nor a token. The code is valid once, for a few minutes.',
  ].join(' '),
  examples: ['tunnel agent enroll 7K3M-Q2X9-4T8N-ZZ1P --url https://tunnel.example.com'],
  reaches: false,
  arguments: [{ name: '<code>', does: 'in any case, with or without its dashes' }],
  options: ACCESS_OPTIONS.filter(({ flags }) => /^--(url|context|ca) /.test(flags)),
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const options = made.opts<CommonOptions>()
  const access = accessFrom(options)
  const { urls, given } = access
  const path = writablePath()
  const { machine, user, token, expiresAt } = await exchangeCode(access, made.args[0] ?? '')
  // The code is used up.
  const tokenFile = await unstopped(async () => {
    const file = await keepToken(path, `agent-${machine}`, token)
    const enrolled = { urls, tokenFile: file, ...reachOf(given) }
    await changeClientFile(path, ({ agents }) => void agents.set(machine, enrolled))
    return file
  })
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify({ machine, user, urls, tokenFile, expiresAt })}\n`)
    return EXIT.ok
  }
  tell(
    [
      `This machine is ${machine} of ${visible(String(user))} at ${urls.join(', ')}. Its token is in ${tokenFile} until ${visible(String(expiresAt)).slice(0, 10)}. Next:`,
      '',
      '  tunnel agent             puts it on line now',
      '  tunnel install agent     puts it on line whenever it runs',
      '',
    ].join('\n'),
  )
  return EXIT.ok
}

/** Where the token can be kept: found out before the code is used up. */
function writablePath(): string {
  const path = clientFilePath()
  if (path === undefined)
    throw refused('there is no home folder to keep the token in: set HOME or XDG_CONFIG_HOME')
  readClientFile(path)
  try {
    makeFolder(dirname(path))
    accessSync(dirname(path), constants.W_OK)
    return path
  } catch (error) {
    throw unwritable(dirname(path), error)
  }
}
