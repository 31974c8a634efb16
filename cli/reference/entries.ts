import { COMMANDS } from '../commands.ts'
import type { Definition } from '../definition.ts'

export interface Entry {
  summary: string
  definition: Definition
}

/** Every command with all that help, completion and man pages tell of it; loads the code of all of them. */
export async function allEntries(): Promise<Entry[]> {
  return Promise.all(
    Object.values(COMMANDS).map(async ({ summary, load }) => ({
      summary,
      definition: (await load()).definition,
    })),
  )
}
