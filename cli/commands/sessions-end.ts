import { ask } from '../api.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT } from '../failure.ts'
import { tell } from '../prose.ts'
import { aboutSession, routeOfId } from '../session-id.ts'

export const definition: Definition = {
  name: 'sessions end',
  does: [
    'Ends an open stream of yours, or of any user with a token of the role admin, on whichever replica it is. Its program is',
    'told that it was ended, and the proxy records who did it. With the id of a link, ends that link: its client or agent',
    'connects again, and sealed streams continue.',
  ].join(' '),
  examples: ['tunnel sessions end 0f3a5c7be1d94e2f8a6b0c1d2e3f4a5b'],
  arguments: [{ name: '<id>', does: 'as `tunnel sessions` shows it, or `tunnel sessions --links`' }],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const options = made.opts<CommonOptions>()
  const route = routeOfId(made.args[0])
  const id = made.args[0]
  await ask(accessFrom(options), route, 'DELETE').catch((error: unknown) => {
    throw aboutSession(error)
  })
  if (options.json === true) process.stdout.write(`${JSON.stringify({ ended: id })}\n`)
  else tell(`${id} is ended\n`)
  return EXIT.ok
}
