import { ALIASES } from '../commands.ts'
import {
  type Definition,
  namesOf,
  type OptionDefinition,
  optionsOf,
  type PassedOn,
  type Values,
} from '../definition.ts'
import type { Entry } from './entries.ts'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

export interface ShellOption {
  /** With their dashes. */
  names: string[]
  does: string
  /** What completes its value; '' for one that nothing does, undefined where it takes none. */
  values: Values | '' | undefined
  repeats: boolean
}

export interface ShellCommand {
  name: string
  summary: string
  options: readonly ShellOption[]
  /** What completes the arguments, by position. */
  places: (Values | '')[]
  /** The last place stands for all that follow. */
  isOpenEnded: boolean
  passedOn?: PassedOn
  /** Another name, which is completed behind and not offered. */
  isAlias?: boolean
}

/** The commands as the scripts for shells need them. */
export function shellCommands(entries: readonly Entry[]): ShellCommand[] {
  const commands = entries.map(({ summary, definition }) => {
    const second = secondWords(entries, definition.name)
    const { places, isOpenEnded } = placesOf(definition)
    return {
      name: definition.name,
      summary,
      options: [...optionsOf(definition).map(shellOption), HELP],
      places: places.length === 0 && second.length > 0 ? [second] : places,
      isOpenEnded,
      ...(definition.passedOn !== undefined && { passedOn: definition.passedOn }),
    }
  })
  const all = [...commands, ...firstWordsAlone(entries)]
  const aliases = [...ALIASES].flatMap(([name, meant]) =>
    commands.filter((each) => each.name === meant).map((each) => ({ ...each, name, isAlias: true })),
  )
  const names = offered(all).map(({ name }) => name)
  return [...all, { ...NOTHING, name: 'help', summary: 'show help', places: [names] }, ...aliases]
}

/** Those that are offered where a command is to stand. */
export function offered(commands: readonly ShellCommand[]): ShellCommand[] {
  return commands.filter(({ name, isAlias }) => !name.includes(' ') && isAlias !== true)
}

const NOTHING = { options: [], isOpenEnded: false } as const satisfies Partial<ShellCommand>

/** First words of commands that are no command by themselves. */
function firstWordsAlone(entries: readonly Entry[]): ShellCommand[] {
  return entries.flatMap(({ summary, definition: { name } }) => {
    const [first = '', second] = name.split(' ')
    const isAlone = second !== undefined && !entries.some(({ definition }) => definition.name === first)
    return isAlone ? [{ ...NOTHING, name: first, summary, places: [secondWords(entries, first)] }] : []
  })
}

function secondWords(entries: readonly Entry[], first: string): string[] {
  return entries.flatMap(({ definition }) => {
    const [word, second] = definition.name.split(' ')
    return word === first && second !== undefined ? [second] : []
  })
}

const HELP: ShellOption = { names: ['-h', '--help'], does: 'show help', values: undefined, repeats: false }

function shellOption(option: OptionDefinition): ShellOption {
  const { short, long, value } = namesOf(option)
  return {
    names: [...(short === undefined ? [] : [`-${short}`]), `--${long}`],
    does: option.does,
    values: value === undefined ? undefined : (option.values ?? ''),
    repeats: option.repeats === true,
  }
}

function placesOf({ arguments: places = [] }: Definition): Pick<ShellCommand, 'places' | 'isOpenEnded'> {
  return {
    places: places.map(({ values }) => values ?? ('' as const)),
    isOpenEnded: places.at(-1)?.name.includes('...') === true,
  }
}

/** Of each command that passes options on, its name, and the letters of those with a value as a class of characters. */
export function passingOn(
  commands: readonly ShellCommand[],
): [name: string, valued: string, files: string][] {
  return commands.flatMap(({ name, passedOn }) =>
    passedOn === undefined ? [] : [[name, passedOn.valued, passedOn.files]],
  )
}

/** A kind as one word that a script can tell apart: words stand behind `=`. */
export function kindOf(values: Values | ''): string {
  return typeof values === 'string' ? values : `=${values.join(' ')}`
}

/** One word between single quotes, for all three shells: what we write has no quote in it that is not spelt so. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
