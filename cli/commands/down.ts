import { askToken } from '../../dial/token.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT } from '../failure.ts'
import { endHub } from '../warm/find.ts'
import { commandPath, socketPath } from '../warm/place.ts'

export const definition: Definition = {
  name: 'down',
  does: 'Ends the link that `tunnel up` keeps. Sessions that use it go on over links of their own.',
  examples: ['tunnel down', 'tunnel down --context work'],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const flags = made.opts<CommonOptions>()
  const { urls, token, tokenCommand } = accessFrom(flags)
  const known = tokenCommand && (await endHub(commandPath(urls[0], tokenCommand)))
  const pid = known ?? (await endHub(socketPath(urls[0], await askToken(token))))
  const state = pid === undefined ? 'not up' : 'down'
  const text = pid === undefined ? `not up: ${urls[0]}` : `down: ${urls[0]}`
  process.stdout.write(`${flags.json === true ? JSON.stringify({ state, urls }) : text}\n`)
  return EXIT.ok
}
