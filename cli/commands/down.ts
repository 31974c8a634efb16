import { askToken } from '../../dial/token.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { type Access, accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT } from '../failure.ts'
import { tell } from '../prose.ts'
import { endHub, endHubsAt } from '../warm/find.ts'
import { commandPath, socketPath } from '../warm/place.ts'

export const definition: Definition = {
  name: 'down',
  does: [
    'Ends the link that `tunnel up` keeps. Sessions that use it go on over links of their own. Without a token it',
    'ends all links that you keep to this proxy, whichever user they were made for.',
  ].join(' '),
  examples: ['tunnel down', 'tunnel down --context work'],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const flags = made.opts<CommonOptions>()
  const access = accessFrom(flags)
  const { urls } = access
  const state = (await end(access)) ? 'down' : 'not up'
  if (flags.json === true) process.stdout.write(`${JSON.stringify({ state, urls })}\n`)
  else tell(`${state}: ${urls[0]}\n`)
  return EXIT.ok
}

/** Whether there was anything to end. */
async function end({ urls: [url], token, tokenCommand, isTokenless }: Access): Promise<boolean> {
  const known = tokenCommand && (await endHub(commandPath(url, tokenCommand)))
  if (known !== undefined) return true
  // A token that is gone, or that each command signs for itself, does not say which link is meant.
  const given = isTokenless ? undefined : await askToken(token).catch(() => undefined)
  if (given === undefined) return (await endHubsAt(url)).length > 0
  return (await endHub(socketPath(url, given))) !== undefined
}
