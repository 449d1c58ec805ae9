/** A change as what was and what is, which is how planners count along. */

type ChangeOf<T> =
  | { readonly action: "create"; readonly object: T }
  | { readonly action: "update"; readonly object: T; readonly old: T }
  | { readonly action: "delete"; readonly object: T };

export interface Delta<T> {
  readonly before: T | undefined;
  readonly after: T | undefined;
}

export function deltaOf<T>(change: ChangeOf<T>): Delta<T> {
  switch (change.action) {
    case "create":
      return { before: undefined, after: change.object };
    case "update":
      return { before: change.old, after: change.object };
    case "delete":
      return { before: change.object, after: undefined };
  }
}
