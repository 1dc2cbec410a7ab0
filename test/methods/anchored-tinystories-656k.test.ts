import { suite } from "uvu";
import { testAnchored } from "./anchored-models.js";

const test = suite("anchored tinystories-656k");
testAnchored(test, "tinystories-656k", 120_000);
test.run();
